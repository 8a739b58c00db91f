//! Every field of a request but the tasks (see `batch`): what is wanted of it, and its default.

use std::collections::BTreeMap;

use hashmesh::{
    algorithm::check_part_bytes,
    error::bad_field,
    limits::{
        DEFAULT_MAX_ATTEMPTS, DEFAULT_PRIORITY, MAX_ALGORITHMS, MAX_BATCH_BYTES, MAX_BATCHES,
        MAX_IDEMPOTENCY_KEY_BYTES, MAX_LABEL_KEY_BYTES, MAX_LABEL_VALUE_BYTES, MAX_LABELS, MAX_LEASED_TASKS,
        MAX_MAX_ATTEMPTS, MAX_PRIORITY, MAX_RETENTION, MAX_URI_BYTES,
    },
    tasks::Place,
    v1::{Algorithm, CacheMode, Expansion, OutcomeStatus, ResultShape, SubmissionOptions, SubmissionState},
};
use prost_types::Timestamp;
use tonic::Status;
use uuid::Uuid;

/// A submission's id, in its canonical form.
pub(crate) fn submission_id(field: &str, text: &str) -> Result<String, Status> {
    // Only the form with hyphens: others that `Uuid` reads have other lengths.
    let id = Uuid::try_parse(text).ok().filter(|_| text.len() == 36);
    let wanted = "must be a submission's id, a UUID like 01890a5d-ac96-774b-bcce-b302099a8057";
    id.map(|id| id.hyphenated().to_string()).ok_or_else(|| bad_field(field, wanted))
}

/// An idempotency key; may be empty.
pub(crate) fn idempotency_key(field: &str, key: String) -> Result<String, Status> {
    text(field, &key, MAX_IDEMPOTENCY_KEY_BYTES)?;
    Ok(key)
}

/// A new submission's options, defaults filled in.
pub(crate) fn options(field: &str, options: Option<SubmissionOptions>) -> Result<SubmissionOptions, Status> {
    let mut options = options.unwrap_or_default();
    let algorithms = algorithms(&format!("{field}.algorithms"), &options.algorithms)?;
    part_bytes(&format!("{field}.part_bytes"), &algorithms, options.part_bytes)?;
    options.algorithms = algorithms.into_iter().map(i32::from).collect();
    labels(&format!("{field}.labels"), &options.labels)?;
    match options.max_attempts {
        0 => options.max_attempts = DEFAULT_MAX_ATTEMPTS,
        1..=MAX_MAX_ATTEMPTS => {}
        found => {
            let wanted = format!("must be 1 to {MAX_MAX_ATTEMPTS}, or 0 for {DEFAULT_MAX_ATTEMPTS}; is {found}");
            return Err(bad_field(&format!("{field}.max_attempts"), wanted));
        }
    }
    if CacheMode::try_from(options.cache).is_err() {
        let found = options.cache;
        let wanted = format!("must be 0 (not set), 1 (USE), 2 (REFRESH) or 3 (BYPASS), is {found}");
        return Err(bad_field(&format!("{field}.cache"), wanted));
    }
    options.retention = retention(&format!("{field}.retention"), options.retention)?;
    order(field, &mut options)?;
    expansion(&format!("{field}.expansion.source_uri"), options.expansion.as_mut())?;
    Ok(options)
}

/// A place that workers list, in its one form.
fn expansion(field: &str, given: Option<&mut Expansion>) -> Result<(), Status> {
    let Some(given) = given else { return Ok(()) };
    if given.source_uri.len() > MAX_URI_BYTES {
        let found = given.source_uri.len();
        return Err(bad_field(field, format!("may have {MAX_URI_BYTES} bytes, has {found}")));
    }
    let place = Place::of(given.source_uri.as_bytes()).map_err(|wanted| bad_field(field, wanted))?;
    given.source_uri = place.uri();
    Ok(())
}

/// The options of a submission whose only batch comes with them.
pub(crate) fn no_expansion(field: &str, options: &SubmissionOptions) -> Result<(), Status> {
    if options.expansion.is_none() {
        return Ok(());
    }
    let wanted = "must not be set where tasks are sent along; use CreateSubmission";
    Err(bad_field(&format!("{field}.expansion"), wanted))
}

/// A retention in whole seconds, rounded up; `None` for the Queue's default.
fn retention(field: &str, given: Option<prost_types::Duration>) -> Result<Option<prost_types::Duration>, Status> {
    let Some(given) = given else { return Ok(None) };
    let seconds = given.seconds.saturating_add(i64::from(given.nanos > 0));
    let longest = MAX_RETENTION.as_secs();
    match u64::try_from(seconds) {
        Ok(0) if given.nanos == 0 => Ok(None),
        Ok(found) if found <= longest && given.nanos >= 0 => Ok(Some(prost_types::Duration { seconds, nanos: 0 })),
        _ => Err(bad_field(field, format!("must be 0 to {longest} s; is {seconds} s"))),
    }
}

/// When the tasks are to be leased.
fn order(field: &str, options: &mut SubmissionOptions) -> Result<(), Status> {
    let priority = options.priority.get_or_insert(DEFAULT_PRIORITY);
    if *priority > MAX_PRIORITY {
        let wanted = format!("must be 0 to {MAX_PRIORITY}, or not set for {DEFAULT_PRIORITY}; is {priority}");
        return Err(bad_field(&format!("{field}.priority"), wanted));
    }
    timestamp(&format!("{field}.not_before"), options.not_before.as_mut())?;
    timestamp(&format!("{field}.deadline"), options.deadline.as_mut())?;
    if let (Some(not_before), Some(deadline)) = (&options.not_before, &options.deadline)
        && (deadline.seconds, deadline.nanos) <= (not_before.seconds, not_before.nanos)
    {
        return Err(bad_field(&format!("{field}.deadline"), "must be after not_before"));
    }
    max_leased_tasks(&format!("{field}.max_leased_tasks"), options.max_leased_tasks)?;
    Ok(())
}

/// A time from the year 1 to 9999, cut to the microseconds that the database keeps.
fn timestamp(field: &str, timestamp: Option<&mut Timestamp>) -> Result<(), Status> {
    const SECONDS: std::ops::RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;
    let Some(timestamp) = timestamp else { return Ok(()) };
    if !SECONDS.contains(&timestamp.seconds) || !(0..1_000_000_000).contains(&timestamp.nanos) {
        return Err(bad_field(field, "must be a time from year 1 to 9999, with 0 to 999,999,999 nanos"));
    }
    timestamp.nanos -= timestamp.nanos % 1_000;
    Ok(())
}

/// How many tasks workers may hold at once; 0: any number.
pub(crate) fn max_leased_tasks(field: &str, tasks: u32) -> Result<u32, Status> {
    if tasks > MAX_LEASED_TASKS {
        return Err(bad_field(field, format!("must be 1 to {MAX_LEASED_TASKS}, or 0 for no limit; is {tasks}")));
    }
    Ok(tasks)
}

/// Algorithms: known, each once, at most [`MAX_ALGORITHMS`]; SHA-256 if none is named.
pub(crate) fn algorithms(field: &str, numbers: &[i32]) -> Result<Vec<Algorithm>, Status> {
    if numbers.is_empty() {
        return Ok(vec![Algorithm::Sha256]);
    }
    if numbers.len() > MAX_ALGORITHMS {
        let found = numbers.len();
        return Err(bad_field(field, format!("may name {MAX_ALGORITHMS} algorithms, names {found}")));
    }
    let mut algorithms = Vec::with_capacity(numbers.len());
    for (index, number) in numbers.iter().enumerate() {
        let at = format!("{field}[{index}]");
        let Some(algorithm) = Algorithm::known(*number) else {
            let known = Algorithm::ALL.map(Algorithm::name).join(", ");
            return Err(bad_field(&at, format!("must be one of {known}; {number} is the number of none")));
        };
        if algorithms.contains(&algorithm) {
            return Err(bad_field(&at, format!("{} must not occur twice", algorithm.name())));
        }
        algorithms.push(algorithm);
    }
    Ok(algorithms)
}

/// The part size that composite algorithms need, 0 where there is none.
pub(crate) fn part_bytes(field: &str, algorithms: &[Algorithm], part_bytes: u64) -> Result<u64, Status> {
    check_part_bytes(algorithms, part_bytes).map_err(|error| bad_field(field, error.to_string()))?;
    Ok(part_bytes)
}

/// Labels, of a submission or of a filter.
pub(crate) fn labels(field: &str, labels: &BTreeMap<String, String>) -> Result<(), Status> {
    if labels.len() > MAX_LABELS {
        let found = labels.len();
        return Err(bad_field(field, format!("may have {MAX_LABELS} labels, has {found}")));
    }
    for (key, value) in labels {
        word(key, MAX_LABEL_KEY_BYTES)
            .map_err(|wanted| bad_field(&format!("{field}[{:?}]", shortened(key)), format!("a key {wanted}")))?;
        text(&format!("{field}[{key:?}]"), value, MAX_LABEL_VALUE_BYTES)?;
    }
    Ok(())
}

/// What people name things with and type again; the error is what it must be.
pub(crate) fn word(text: &str, most: usize) -> Result<(), String> {
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-' | b'/');
    if text.is_empty() || text.len() > most || !text.bytes().all(letter) {
        return Err(format!("must be 1 to {most} bytes of a-z, A-Z, 0-9, `.`, `_`, `-`, `/`"));
    }
    Ok(())
}

/// A position to resume after. Positions are signed 64-bit numbers in the database.
pub(crate) fn after_position(field: &str, position: u64) -> Result<u64, Status> {
    if i64::try_from(position).is_err() {
        return Err(bad_field(field, format!("must be a position or 0; {position} is above every position")));
    }
    Ok(position)
}

/// The outcomes to filter by; empty: all.
pub(crate) fn statuses(field: &str, numbers: &[i32]) -> Result<(), Status> {
    for (index, number) in numbers.iter().enumerate() {
        let known = OutcomeStatus::try_from(*number).is_ok_and(|status| status != OutcomeStatus::Unspecified);
        if !known {
            let wanted = format!("must be SUCCEEDED, MISMATCHED or FAILED; {number} is the number of none");
            return Err(bad_field(&format!("{field}[{index}]"), wanted));
        }
        // Also bounds their number.
        if numbers[..index].contains(number) {
            return Err(bad_field(&format!("{field}[{index}]"), "must not occur twice"));
        }
    }
    Ok(())
}

/// The state to filter by; unspecified: all.
pub(crate) fn state(field: &str, number: i32) -> Result<i32, Status> {
    match SubmissionState::try_from(number) {
        Ok(_) => Ok(number),
        Err(_) => Err(bad_field(field, format!("{number} is the number of no submission state"))),
    }
}

/// The shape that outcomes are sent in; unspecified: rows.
pub(crate) fn result_shape(field: &str, number: i32) -> Result<ResultShape, Status> {
    match ResultShape::try_from(number) {
        Ok(ResultShape::Unspecified) => Ok(ResultShape::Rows),
        Ok(shape) => Ok(shape),
        Err(_) => Err(bad_field(field, format!("{number} is the number of no result shape"))),
    }
}

/// The number of batches of a submission; 0: none.
pub(crate) fn batch_count(field: &str, count: u32) -> Result<u32, Status> {
    if count > MAX_BATCHES {
        return Err(bad_field(field, format!("a submission may have {MAX_BATCHES} batches, not {count}")));
    }
    Ok(count)
}

/// A page's size; 0: the default.
pub(crate) fn page_size(field: &str, size: u32, default: u32, maximum: u32) -> Result<u32, Status> {
    match size {
        0 => Ok(default),
        size if size <= maximum => Ok(size),
        size => Err(bad_field(field, format!("must be 1 to {maximum}, or 0 for {default}; is {size}"))),
    }
}

/// The id that a page token stands for; none for the first page.
pub(crate) fn page_token(field: &str, token: &str) -> Result<Option<String>, Status> {
    if token.is_empty() {
        return Ok(None);
    }
    let id = token.strip_prefix(PAGE_TOKEN).filter(|hex| hex.len() == 32).and_then(|hex| Uuid::try_parse(hex).ok());
    let wanted = "must be `next_page_token` of the page before, unchanged, or empty for the first page";
    id.map(|id| Some(id.hyphenated().to_string())).ok_or_else(|| bad_field(field, wanted))
}

/// The token of the page that follows a submission; none if its id is no UUID, which the Queue never says.
pub(crate) fn next_page_token(last_submission_id: &str) -> Option<String> {
    Uuid::try_parse(last_submission_id).ok().map(|id| format!("{PAGE_TOKEN}{}", id.simple()))
}

/// Says how to read the token.
const PAGE_TOKEN: &str = "a";

/// An input of `ComputeDigest`, or a piece of one.
pub(crate) fn digest_data(data: &[u8]) -> Result<(), Status> {
    if data.len() <= MAX_BATCH_BYTES as usize {
        return Ok(());
    }
    let found = data.len();
    let wanted = format!("may have {MAX_BATCH_BYTES} bytes, has {found}; send pieces with ComputeDigestStream");
    Err(bad_field("data", wanted))
}

/// Text for people: bounded, without control characters.
fn text(field: &str, text: &str, max_bytes: usize) -> Result<(), Status> {
    if text.len() > max_bytes {
        let found = text.len();
        return Err(bad_field(field, format!("may have {max_bytes} bytes, has {found}")));
    }
    if text.chars().any(char::is_control) {
        return Err(bad_field(field, "must not have control characters"));
    }
    Ok(())
}

/// A key as far as an error shows it.
fn shortened(key: &str) -> String {
    key.chars().take(MAX_LABEL_KEY_BYTES).collect()
}

#[cfg(test)]
mod tests {
    use hashmesh::{
        error::{Reason, reason},
        limits::{MAX_PART_BYTES, MIN_PART_BYTES},
    };
    use tonic_types::StatusExt as _;

    use super::*;

    fn field_of<T: std::fmt::Debug>(result: Result<T, Status>) -> String {
        let status = result.unwrap_err();
        assert_eq!(reason(&status), Some(Reason::InvalidArgument));
        status.get_details_bad_request().unwrap().field_violations[0].field.clone()
    }

    fn label(key: &str, value: &str) -> BTreeMap<String, String> {
        BTreeMap::from([(key.to_owned(), value.to_owned())])
    }

    #[test]
    fn a_retention_is_zero_to_ten_years_in_whole_seconds() {
        let given = |seconds, nanos| retention("options.retention", Some(prost_types::Duration { seconds, nanos }));
        let kept = |seconds, nanos| given(seconds, nanos).unwrap().map(|kept| (kept.seconds, kept.nanos));
        assert_eq!(retention("options.retention", None).unwrap(), None);
        assert_eq!(kept(0, 0), None);
        assert_eq!(kept(1, 1), Some((2, 0)));
        assert_eq!(kept(3_650 * 86_400, 0), Some((3_650 * 86_400, 0)));
        for (seconds, nanos) in [(3_650 * 86_400, 1), (-1, 0), (0, -1), (i64::MAX, 1)] {
            assert_eq!(field_of(given(seconds, nanos)), "options.retention");
        }
    }

    #[test]
    fn options_get_their_defaults() {
        let options = options("open.options", None).unwrap();
        assert_eq!(options.algorithms, [Algorithm::Sha256 as i32]);
        assert_eq!(options.max_attempts, 5);
        assert_eq!(options.priority, Some(5));
    }

    #[test]
    fn the_order_of_work_is_held_to_each_limit() {
        let with = |change: fn(&mut SubmissionOptions)| {
            let mut given = SubmissionOptions::default();
            change(&mut given);
            options("options", Some(given))
        };
        let at = |seconds, nanos| Some(Timestamp { seconds, nanos });
        assert_eq!(with(|options| options.priority = Some(0)).unwrap().priority, Some(0));
        assert!(with(|options| options.priority = Some(9)).is_ok());
        assert_eq!(field_of(with(|options| options.priority = Some(10))), "options.priority");
        assert!(with(|options| options.max_leased_tasks = i32::MAX as u32).is_ok());
        assert_eq!(
            field_of(with(|options| options.max_leased_tasks = i32::MAX as u32 + 1)),
            "options.max_leased_tasks"
        );
        let times = |not_before, deadline| {
            options("options", Some(SubmissionOptions { not_before, deadline, ..SubmissionOptions::default() }))
        };
        assert_eq!(times(at(5, 1_999), None).unwrap().not_before, at(5, 1_000));
        assert!(times(at(-62_135_596_800, 0), at(253_402_300_799, 999_999_999)).is_ok());
        assert_eq!(field_of(times(at(-62_135_596_801, 0), None)), "options.not_before");
        assert_eq!(field_of(times(None, at(253_402_300_800, 0))), "options.deadline");
        assert_eq!(field_of(times(at(5, -1), None)), "options.not_before");
        assert_eq!(field_of(times(None, at(5, 1_000_000_000))), "options.deadline");
        assert!(times(at(5, 0), at(5, 1_000)).is_ok());
        assert_eq!(field_of(times(at(5, 0), at(5, 999))), "options.deadline");
    }

    #[test]
    fn options_are_held_to_each_limit() {
        let with = |change: fn(&mut SubmissionOptions)| {
            let mut given = SubmissionOptions::default();
            change(&mut given);
            options("options", Some(given))
        };
        assert!(with(|options| options.max_attempts = 20).is_ok());
        assert_eq!(field_of(with(|options| options.max_attempts = 21)), "options.max_attempts");
        assert!(with(|options| options.algorithms = (1..9).collect()).is_ok());
        assert_eq!(field_of(with(|options| options.algorithms = (1..10).collect())), "options.algorithms");
        assert_eq!(field_of(with(|options| options.algorithms = vec![2, 0])), "options.algorithms[1]");
        assert_eq!(field_of(with(|options| options.algorithms = vec![2, 99])), "options.algorithms[1]");
        assert_eq!(field_of(with(|options| options.algorithms = vec![2, 2])), "options.algorithms[1]");

        let composite = |part_bytes: u64, algorithm: Algorithm| {
            let algorithms = vec![algorithm.into()];
            options("options", Some(SubmissionOptions { algorithms, part_bytes, ..SubmissionOptions::default() }))
        };
        for fitting in [MIN_PART_BYTES, MAX_PART_BYTES] {
            assert!(composite(fitting, Algorithm::Sha256Composite).is_ok());
        }
        for wrong in [0, MIN_PART_BYTES - 1, MAX_PART_BYTES + 1] {
            assert_eq!(field_of(composite(wrong, Algorithm::Sha256Composite)), "options.part_bytes");
        }
        assert_eq!(field_of(composite(MIN_PART_BYTES, Algorithm::Sha256)), "options.part_bytes");
    }

    #[test]
    fn labels_are_held_to_each_limit() {
        let many = |count: usize| (0..count).map(|index| (format!("k{index}"), String::new())).collect();
        assert!(labels("labels", &many(32)).is_ok());
        assert_eq!(field_of(labels("labels", &many(33))), "labels");
        assert!(labels("labels", &label(&"k".repeat(63), &"v".repeat(255))).is_ok());
        assert!(labels("labels", &label("a.b_c-d/E9", "ä € 😀")).is_ok());
        assert!(labels("labels", &label(&"k".repeat(64), "")).is_err());
        assert_eq!(field_of(labels("labels", &label("", ""))), "labels[\"\"]");
        assert_eq!(field_of(labels("labels", &label("a b", ""))), "labels[\"a b\"]");
        assert_eq!(field_of(labels("labels", &label("k", &"v".repeat(256)))), "labels[\"k\"]");
        assert_eq!(field_of(labels("labels", &label("k", "a\nb"))), "labels[\"k\"]");
    }

    #[test]
    fn an_idempotency_key_has_at_most_255_bytes_and_no_control_characters() {
        assert!(idempotency_key("idempotency_key", "k".repeat(255)).is_ok());
        assert_eq!(field_of(idempotency_key("idempotency_key", "k".repeat(256))), "idempotency_key");
        assert_eq!(field_of(idempotency_key("idempotency_key", "a\0".to_owned())), "idempotency_key");
    }

    #[test]
    fn an_id_is_a_uuid_with_hyphens_in_either_case() {
        let id = "01890a5d-ac96-774b-bcce-b302099a8057";
        assert_eq!(submission_id("submission_id", &id.to_uppercase()).unwrap(), id);
        for text in ["", "x", "01890a5dac96774bbcceb302099a8057", "{01890a5d-ac96-774b-bcce-b302099a8057}"] {
            assert_eq!(field_of(submission_id("submission_id", text)), "submission_id");
        }
    }

    #[test]
    fn a_page_token_survives_its_round_and_nothing_else_is_one() {
        let id = "01890a5d-ac96-774b-bcce-b302099a8057";
        let token = next_page_token(id).unwrap();
        assert_eq!(page_token("page_token", &token).unwrap().as_deref(), Some(id));
        assert_eq!(page_token("page_token", "").unwrap(), None);
        for token in [id, "a", "garbage", &token[1..], &format!("{token}0")] {
            assert_eq!(field_of(page_token("page_token", token)), "page_token");
        }
    }

    #[test]
    fn pages_have_a_default_and_a_maximum() {
        assert_eq!(page_size("page_size", 0, 100, 1_000).unwrap(), 100);
        assert_eq!(page_size("page_size", 1_000, 100, 1_000).unwrap(), 1_000);
        assert_eq!(field_of(page_size("page_size", 1_001, 100, 1_000)), "page_size");
    }

    #[test]
    fn filters_and_shapes_are_known_numbers() {
        assert!(statuses("statuses", &[1, 2, 3]).is_ok());
        assert_eq!(field_of(statuses("statuses", &[1, 0])), "statuses[1]");
        assert_eq!(field_of(statuses("statuses", &[4])), "statuses[0]");
        assert_eq!(field_of(statuses("statuses", &[1, 1])), "statuses[1]");
        assert_eq!(result_shape("result_shape", 0).unwrap(), ResultShape::Rows);
        assert_eq!(field_of(result_shape("result_shape", 3)), "result_shape");
        assert_eq!(field_of(state("state", 5)), "state");
        assert!(after_position("after_position", i64::MAX as u64).is_ok());
        assert_eq!(field_of(after_position("after_position", i64::MAX as u64 + 1)), "after_position");
    }
}
