//! Pages of submissions.

use hashmesh::{
    gateway::v1::{CancelSubmissionRequest, CreateSubmissionRequest, ListSubmissionsRequest, SubmitBatchRequest},
    v1::{Submission, SubmissionOptions, SubmissionState},
};

use super::{submit, whole};
use crate::support::{Gateway, raw::packed, shared};

/// Every page of a listing.
async fn pages(gateway: &mut Gateway, request: ListSubmissionsRequest) -> Vec<Vec<Submission>> {
    let mut pages = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = ListSubmissionsRequest { page_token, ..request.clone() };
        let page = gateway.list_submissions(request).await.expect("a page").into_inner();
        pages.push(page.submissions);
        if page.next_page_token.is_empty() {
            return pages;
        }
        page_token = page.next_page_token;
    }
}

fn ids(submissions: &[Submission]) -> Vec<&str> {
    submissions.iter().map(|submission| submission.submission_id.as_str()).collect()
}

#[tokio::test]
async fn pages_list_every_submission_once_newest_first_and_filters_hold() {
    let mut gateway = shared::gateway().await;
    let group = format!("{:032x}", rand::random::<u128>());
    let options = |even: bool| SubmissionOptions {
        labels: [("group".to_owned(), group.clone()), ("even".to_owned(), even.to_string())].into(),
        ..SubmissionOptions::default()
    };
    let mut made = Vec::new();
    for index in 0..7 {
        let request = SubmitBatchRequest { options: Some(options(index % 2 == 0)), wait: true, ..whole(packed(["a"])) };
        made.push(submit(&mut gateway, request).await.expect("accepted").submission.expect("it has it").submission_id);
    }
    let create = CreateSubmissionRequest { options: Some(options(false)), ..CreateSubmissionRequest::default() };
    let open = gateway.create_submission(create).await.expect("created").into_inner().opened.expect("it has it");
    made.push(open.submission_id.clone());
    made.reverse();

    let with = |labels: &[(&str, &str)]| ListSubmissionsRequest {
        labels: labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
        ..ListSubmissionsRequest::default()
    };
    let of_group = || with(&[("group", &group)]);
    for page_size in [1, 2, 3, 7, 8, 1000] {
        let pages = pages(&mut gateway, ListSubmissionsRequest { page_size, ..of_group() }).await;
        assert!(pages.iter().all(|page| page.len() <= page_size as usize));
        assert!(pages.len() <= 8_usize.div_ceil(page_size as usize) + 1);
        assert_eq!(ids(&pages.concat()), made, "pages of {page_size}");
    }
    let even = pages(&mut gateway, with(&[("group", &group), ("even", "true")])).await.concat();
    assert_eq!(even.len(), 4);
    assert!(even.iter().all(|one| one.options.as_ref().expect("it has them").labels["even"] == "true"));

    let in_state = |state: SubmissionState| ListSubmissionsRequest { state: state as i32, ..of_group() };
    assert_eq!(pages(&mut gateway, in_state(SubmissionState::Completed)).await.concat().len(), 7);
    assert_eq!(ids(&pages(&mut gateway, in_state(SubmissionState::Open)).await.concat()), [&open.submission_id]);
    let cancel = CancelSubmissionRequest { submission_id: open.submission_id.clone() };
    gateway.cancel_submission(cancel).await.expect("a cancel");
    assert_eq!(ids(&pages(&mut gateway, in_state(SubmissionState::Cancelled)).await.concat()), [&open.submission_id]);
    assert_eq!(pages(&mut gateway, in_state(SubmissionState::Open)).await.concat().len(), 0);

    // A submission looks the same in a list as by itself.
    let listed = pages(&mut gateway, of_group()).await.concat();
    for submission in &listed {
        assert_eq!(*submission, gateway.submission(&submission.submission_id).await);
    }
}

#[tokio::test]
async fn submissions_that_are_made_between_two_pages_do_not_disturb_them() {
    let mut gateway = shared::gateway().await;
    let group = format!("{:032x}", rand::random::<u128>());
    let options = SubmissionOptions { labels: [("group".to_owned(), group)].into(), ..SubmissionOptions::default() };
    let labels = options.labels.clone();
    let create = CreateSubmissionRequest { options: Some(options), ..CreateSubmissionRequest::default() };
    for _ in 0..4 {
        gateway.create_submission(create.clone()).await.expect("created");
    }
    let request = ListSubmissionsRequest { page_size: 2, labels, ..ListSubmissionsRequest::default() };
    let first = gateway.list_submissions(request.clone()).await.expect("a page").into_inner();
    gateway.create_submission(create).await.expect("created");
    let request = ListSubmissionsRequest { page_token: first.next_page_token.clone(), ..request };
    let second = gateway.list_submissions(request).await.expect("a page").into_inner();
    let mut seen = [ids(&first.submissions), ids(&second.submissions)].concat();
    assert!(seen.windows(2).all(|pair| pair[0] > pair[1]), "newest first: {seen:?}");
    seen.dedup();
    assert_eq!(seen.len(), 4);
}
