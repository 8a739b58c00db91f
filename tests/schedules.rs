//! Schedules: submissions that the mesh repeats, and what changed from run to run.

use std::fs;

use hashmesh::{
    error::{Reason, reason},
    gateway::v1::{CreateScheduleRequest, DeleteScheduleRequest, GetScheduleRequest, ListSchedulesRequest},
    limits::{MAX_CRON_BYTES, MAX_SCHEDULE_NAME_BYTES, MAX_SCHEDULES},
    tasks::file_uri,
    v1::{Expansion, Schedule, Scope, SubmissionOptions, SubmissionState},
};
use tonic::Status;

use crate::support::{
    Database, Gateway, Up,
    cli::hashmesh,
    guarded::Guarded,
    raw::{assert_refused, violated_fields},
    rundir,
    wait::{PATIENCE, until},
};

fn wanted(name: &str, source_uri: &str) -> CreateScheduleRequest {
    let expansion = Some(Expansion { source_uri: source_uri.to_owned() });
    CreateScheduleRequest {
        name: name.to_owned(),
        cron: "0 3 * * *".to_owned(),
        options: Some(SubmissionOptions { expansion, ..SubmissionOptions::default() }),
        ..CreateScheduleRequest::default()
    }
}

async fn create(gateway: &mut Gateway, request: CreateScheduleRequest) -> Result<Schedule, Status> {
    Ok(gateway.create_schedule(request).await?.into_inner().schedule.expect("it is there"))
}

/// Its time has come: nobody waits until 3 o'clock.
async fn make_due(up: &Up, name: &str) {
    let sql =
        format!("UPDATE schedules SET next_run_at = now() - interval '1 hour' WHERE name = '{name}' RETURNING name");
    assert_eq!(Database::of_url(up.database_url()).value(&sql).await, name);
}

/// Waits until something holds of a schedule.
async fn shows(gateway: &Gateway, name: &str, what: &str, holds: impl Fn(&Schedule) -> bool) -> Schedule {
    until(what, PATIENCE, async || {
        let request = GetScheduleRequest { name: name.to_owned() };
        let schedule = gateway.clone().get_schedule(request).await.ok()?.into_inner().schedule?;
        holds(&schedule).then_some(schedule)
    })
    .await
}

#[tokio::test]
async fn each_run_is_a_submission_that_names_the_one_before_and_changes_tells_what_is_new() {
    let tree = rundir::directory("scheduled-tree");
    let write = |name: &str, text: &str| fs::write(tree.join(name), text).expect("a file");
    for name in ["changed", "gone", "same"] {
        write(name, "x");
    }
    let up = Up::start("schedules", &["--allow-source", tree.to_str().expect("UTF-8")]).await;
    let uri = format!("{}/", file_uri(tree.as_os_str().as_encoded_bytes()));
    let verb = |arguments: &[&str]| hashmesh(arguments).env("HASHMESH_SERVER", &up.server);
    let creating = ["schedule", "create", "nightly", &uri, "--cron", "0 3 * * *", "--time-zone", "Europe/Berlin"];
    let created = verb(&creating).arg("--output").arg("json").run().await.succeeded().json();
    assert!(created["next_run_time"].as_str().is_some_and(|time| time.contains("T0")), "{created}");
    assert_eq!((&created["source_uri"], &created["runs"]), (&uri.as_str().into(), &0.into()));
    verb(&creating).run().await.succeeded();
    let none = verb(&["changes", "nightly"]).run().await.exits(1);
    assert!(none.stderr.contains("no run yet"), "{}", none.stderr);

    let mut gateway = Gateway::connect(&up.server).await;
    make_due(&up, "nightly").await;
    let first = shows(&gateway, "nightly", "the first run", |schedule| schedule.runs == 1).await.last_submission_id;
    let submission = gateway.reaches(&first, SubmissionState::Completed).await;
    assert_eq!((submission.succeeded_tasks, &*submission.schedule, &*submission.previous_run), (3, "nightly", ""));
    let alone = verb(&["changes", "nightly"]).run().await.exits(1);
    assert!(alone.stderr.contains("first run"), "{}", alone.stderr);

    write("changed", "y");
    write("new", "x");
    fs::remove_file(tree.join("gone")).expect("it was there");
    make_due(&up, "nightly").await;
    let second = shows(&gateway, "nightly", "the second run", |schedule| schedule.runs == 2).await;
    assert!(second.next_run_time.is_some() && second.skipped_runs == 0, "{second:?}");
    let submission = gateway.reaches(&second.last_submission_id, SubmissionState::Completed).await;
    assert_eq!((&submission.schedule, &submission.previous_run), (&"nightly".to_owned(), &first));
    let changes = format!("* {uri}changed\n- {uri}gone\n+ {uri}new\n");
    for run in ["nightly", &second.last_submission_id] {
        assert_eq!(verb(&["changes", run]).run().await.exits(1).text(), changes, "{run}");
    }
    let listed = verb(&["schedule", "list"]).run().await.succeeded().text();
    assert!(listed.contains("nightly") && listed.contains(&second.last_submission_id), "{listed}");

    // Nothing has changed: nothing is said, and the exit code is 0.
    make_due(&up, "nightly").await;
    let third = shows(&gateway, "nightly", "the third run", |schedule| schedule.runs == 3).await.last_submission_id;
    gateway.reaches(&third, SubmissionState::Completed).await;
    assert_eq!(verb(&["changes", "nightly"]).run().await.succeeded().text(), "");

    // Its runs outlive it.
    verb(&["schedule", "delete", "nightly"]).run().await.succeeded();
    let gone = verb(&["schedule", "get", "nightly"]).run().await;
    assert!(gone.stderr.contains("no such schedule"), "{}", gone.stderr);
    assert_eq!(gateway.submission(&third).await.schedule, "nightly");
}

#[tokio::test]
async fn promise_1_a_run_that_was_interrupted_is_taken_up_and_not_run_twice() {
    let mut up = Up::start("schedules-interrupted", &[]).await;
    let mut gateway = Gateway::connect(&up.server).await;
    create(&mut gateway, wanted("interrupted", "file:///nowhere/")).await.expect("it is created");
    make_due(&up, "interrupted").await;
    let database = Database::of_url(up.database_url());
    let due = database.value("SELECT next_run_at::text FROM schedules").await;
    let first = shows(&gateway, "interrupted", "its run", |schedule| schedule.runs == 1).await;
    // As if its owner had died between the submission and the schedule.
    let sql = format!("UPDATE schedules SET next_run_at = '{due}', last_run = NULL, runs = 0 RETURNING name");
    database.value(&sql).await;
    up.restart().await;
    let again = shows(&gateway, "interrupted", "its run", |schedule| schedule.runs == 1).await;
    assert_eq!(again.last_submission_id, first.last_submission_id);
    let database = Database::of_url(up.database_url());
    assert_eq!(database.value("SELECT COUNT(*)::text FROM submissions").await, "1");

    // While it waits for a worker, the next is left out, and the one after that is tried at its time.
    make_due(&up, "interrupted").await;
    let skipped = shows(&gateway, "interrupted", "to be left out", |schedule| schedule.skipped_runs == 1).await;
    assert_eq!((skipped.runs, &skipped.last_submission_id), (1, &first.last_submission_id));
    assert!(skipped.next_run_time.expect("a next").seconds > again.create_time.expect("a time").seconds);
}

#[tokio::test]
async fn what_cannot_be_a_schedule_is_refused_with_the_field() {
    let up = Up::start("schedules-fields", &[]).await;
    let mut gateway = Gateway::connect(&up.server).await;
    let good = || wanted("good", "s3://bucket/");
    let with = |change: fn(&mut CreateScheduleRequest)| {
        let mut request = good();
        change(&mut request);
        request
    };
    for (request, field) in [
        (with(|one| one.name = String::new()), "name"),
        (with(|one| one.name = "a b".into()), "name"),
        (with(|one| one.name = "n".repeat(MAX_SCHEDULE_NAME_BYTES + 1)), "name"),
        (with(|one| one.cron = String::new()), "cron"),
        (with(|one| one.cron = "every day".into()), "cron"),
        (with(|one| one.cron = "0 0 30 2 *".into()), "cron"),
        (with(|one| one.cron = format!("{}0 3 * * *", "0,".repeat(MAX_CRON_BYTES / 2))), "cron"),
        (with(|one| one.time_zone = "Mars".into()), "time_zone"),
        (with(|one| one.options = None), "options.expansion"),
        (
            with(|one| one.options.as_mut().unwrap().expansion = Some(Expansion::default())),
            "options.expansion.source_uri",
        ),
        (with(|one| one.options.as_mut().unwrap().deadline = Some(Default::default())), "options.deadline"),
        (with(|one| one.options.as_mut().unwrap().not_before = Some(Default::default())), "options.not_before"),
        (with(|one| one.options.as_mut().unwrap().algorithms = vec![999]), "options.algorithms[0]"),
    ] {
        let status = create(&mut gateway, request.clone()).await.expect_err(field);
        assert_refused(&status, Reason::InvalidArgument);
        assert_eq!(violated_fields(&status), [field], "{request:?}");
    }
    create(&mut gateway, with(|one| one.name = "n".repeat(MAX_SCHEDULE_NAME_BYTES))).await.expect("as long as may be");
    let first = create(&mut gateway, good()).await.expect("it is good");
    assert_eq!((first.time_zone.as_str(), first.runs), ("UTC", 0));
    assert_eq!(create(&mut gateway, good()).await.expect("the same"), first);
    let other = create(&mut gateway, with(|one| one.cron = "0 4 * * *".into())).await.expect_err("another");
    assert_refused(&other, Reason::ScheduleExists);
    let unknown = GetScheduleRequest { name: "unknown".to_owned() };
    assert_refused(&gateway.get_schedule(unknown).await.expect_err("unknown"), Reason::ScheduleNotFound);

    // As many as may be, and one more.
    let room = MAX_SCHEDULES - 3;
    let sql = format!(
        "WITH made AS (INSERT INTO schedules (tenant, name, cron, time_zone, options) \
         SELECT 'default', 'made-' || n, '0 3 * * *', 'UTC', '' FROM generate_series(1, {room}) n RETURNING 1) \
         SELECT COUNT(*)::text FROM made"
    );
    assert_eq!(Database::of_url(up.database_url()).value(&sql).await, room.to_string());
    create(&mut gateway, with(|one| one.name = "last".into())).await.expect("the last");
    let more = create(&mut gateway, with(|one| one.name = "more".into())).await.expect_err("one too many");
    assert_refused(&more, Reason::TooManySchedules);
    let listed = gateway.list_schedules(ListSchedulesRequest {}).await.expect("listed").into_inner().schedules;
    assert_eq!(listed.len(), MAX_SCHEDULES as usize);
}

#[tokio::test]
async fn promise_10_anothers_schedule_is_unknown() {
    let mesh = Guarded::start("schedules-tenants", &[]).await;
    let scopes = [Scope::Submit, Scope::Read];
    let (ours, theirs) = (mesh.key("ours", &scopes).await, mesh.key("theirs", &scopes).await);
    mesh.allow("ours", "s3://bucket/").await;
    mesh.allow("theirs", "s3://other/").await;
    let (ours, theirs) = (mesh.client(&ours), mesh.client(&theirs));
    ours.create_schedule(wanted("nightly", "s3://bucket/")).await.expect("it is created");
    assert!(theirs.list_schedules().await.expect("listed").is_empty());
    let get =
        theirs.gateway().get_schedule(GetScheduleRequest { name: "nightly".to_owned() }).await.expect_err("theirs");
    let delete = DeleteScheduleRequest { name: "nightly".to_owned() };
    let delete = theirs.gateway().delete_schedule(delete).await.expect_err("theirs");
    assert_eq!((reason(&get), reason(&delete)), (Some(Reason::ScheduleNotFound), Some(Reason::ScheduleNotFound)));
    theirs.create_schedule(wanted("nightly", "s3://other/")).await.expect("names are each tenant's own");
    let kept = ours.get_schedule("nightly").await.expect("it is there").options.expect("it has some");
    assert_eq!(kept.expansion.expect("it has one").source_uri, "s3://bucket/");
}
