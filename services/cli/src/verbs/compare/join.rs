//! Two sides in byte order of their names, side by side.

use std::io::Write;

use serde_json::{Map, Value, json};

use super::{packed::Known, side::Names};
use crate::verbs::{
    failure::Failure,
    name::json_key,
    output::{Format, put_json},
    reporter::Reporter,
    verdict::{Tally, Verdict},
};

/// Written at once from here on.
const FULL_BYTES: usize = 256 * 1024;

/// How it is told.
#[derive(Debug)]
pub(super) struct Telling {
    pub(super) format: Format,
    /// Nothing is said about what is equal.
    pub(super) quiet: bool,
    pub(super) reporter: Reporter,
}

/// Says of each name what the sides have, and counts it.
pub(super) fn join(mut a: Names, mut b: Names, telling: &Telling, out: &mut impl Write) -> Result<Tally, Failure> {
    let lost = |error| Failure::local("cannot read what was sorted", &error);
    let mut tally = Tally::default();
    let mut buffer = Vec::new();
    let mut any = false;
    if telling.format == Format::Json {
        buffer.extend_from_slice(b"{\"names\":[");
    }
    let (mut left, mut right) = (a.next_name().map_err(lost)?, b.next_name().map_err(lost)?);
    loop {
        let order = match (&left, &right) {
            (None, None) => break,
            (Some((left, _)), Some((right, _))) => left.cmp(right),
            (Some(_), None) => std::cmp::Ordering::Less,
            (None, Some(_)) => std::cmp::Ordering::Greater,
        };
        let of_a = if order.is_le() { std::mem::replace(&mut left, a.next_name().map_err(lost)?) } else { None };
        let of_b = if order.is_ge() { std::mem::replace(&mut right, b.next_name().map_err(lost)?) } else { None };
        let Some((name, _)) = of_a.as_ref().or(of_b.as_ref()) else { break };
        let (of_a, of_b) = (of_a.as_ref().map(|(_, known)| known), of_b.as_ref().map(|(_, known)| known));
        let (verdict, why) = judge(of_a, of_b);
        tally.count(verdict);
        if let Some(why) = &why {
            telling.reporter.trouble(name, why);
        }
        if telling.quiet && verdict == Verdict::Equal {
            continue;
        }
        match telling.format {
            Format::Text => verdict.put(name, &mut buffer),
            Format::Jsonl => {
                put_json(&mut buffer, &object(name, verdict, of_a, of_b, why.as_deref()))?;
                buffer.push(b'\n');
            }
            Format::Json => {
                buffer.extend_from_slice(if any { b",\n" } else { b"\n" });
                put_json(&mut buffer, &object(name, verdict, of_a, of_b, why.as_deref()))?;
            }
        }
        any = true;
        if buffer.len() >= FULL_BYTES {
            out.write_all(&buffer).map_err(|error| Failure::output(&error))?;
            buffer.clear();
        }
    }
    if telling.format == Format::Json {
        buffer.extend_from_slice(b"\n]}\n");
    }
    out.write_all(&buffer).and_then(|()| out.flush()).map_err(|error| Failure::output(&error))?;
    Ok(tally)
}

/// What the sides have of one name, and why they could not be compared.
fn judge(a: Option<&Known>, b: Option<&Known>) -> (Verdict, Option<String>) {
    for (side, known) in [("A", a), ("B", b)] {
        if let Some(trouble) = known.and_then(|known| known.trouble.as_ref()) {
            return (Verdict::Error, Some(format!("{side}: {trouble}")));
        }
    }
    let (a, b) = match (a, b) {
        (Some(a), Some(b)) => (a, b),
        (Some(_), None) => return (Verdict::OnlyFirst, None),
        (None, _) => return (Verdict::OnlySecond, None),
    };
    if a.size.is_some() && b.size.is_some() && a.size != b.size {
        return (Verdict::Differs, None);
    }
    let both = a.digests.iter().filter_map(|(algorithm, left)| {
        let (_, right) = b.digests.iter().find(|(other, _)| other == algorithm)?;
        Some(left == right)
    });
    match both.reduce(|all, equal| all && equal) {
        Some(true) => (Verdict::Equal, None),
        Some(false) => (Verdict::Differs, None),
        None => (Verdict::Error, Some("the sides have no digest by the same algorithm".to_owned())),
    }
}

/// What is said, and what each side has where that is not the same.
fn object(name: &[u8], verdict: Verdict, a: Option<&Known>, b: Option<&Known>, why: Option<&str>) -> Value {
    let (key, shown) = json_key(name);
    let mut object =
        Map::from_iter([(key.to_owned(), Value::from(shown)), ("sign".to_owned(), verdict.sign().to_string().into())]);
    if verdict != Verdict::Equal {
        for (side, known) in [("a", a), ("b", b)] {
            if let Some(known) = known {
                let digests = known.digests.iter();
                let digests: Map<String, Value> = digests
                    .map(|(algorithm, digest)| (algorithm.name().to_owned(), hex::encode(digest).into()))
                    .collect();
                let mut has = Map::from_iter([("digests".to_owned(), Value::Object(digests))]);
                has.extend(known.size.map(|size| ("size".to_owned(), size.into())));
                object.insert(side.to_owned(), Value::Object(has));
            }
        }
    }
    if let Some(why) = why {
        object.insert("error".to_owned(), json!({ "message": why }));
    }
    Value::Object(object)
}

#[cfg(test)]
mod tests {
    use hashmesh::v1::Algorithm;

    use super::*;

    fn known(digests: &[(Algorithm, u8)], size: Option<u64>) -> Known {
        let digest = |(algorithm, byte): &(Algorithm, u8)| (*algorithm, vec![*byte; algorithm.digest_bytes()]);
        Known { digests: digests.iter().map(digest).collect(), size, trouble: None }
    }

    #[test]
    fn sides_are_compared_by_the_algorithms_that_both_have() {
        let (md5, sha1) = (Algorithm::Md5, Algorithm::Sha1);
        let verdict = |a: &Known, b: &Known| judge(Some(a), Some(b)).0;
        let one = known(&[(md5, 1)], None);
        assert_eq!(verdict(&one, &known(&[(sha1, 2), (md5, 1)], Some(3))), Verdict::Equal);
        assert_eq!(verdict(&one, &known(&[(sha1, 2), (md5, 9)], None)), Verdict::Differs);
        assert_eq!(
            verdict(&known(&[(md5, 1), (sha1, 1)], None), &known(&[(md5, 1), (sha1, 2)], None)),
            Verdict::Differs
        );
        assert_eq!(verdict(&one, &known(&[(sha1, 1)], None)), Verdict::Error);
        assert_eq!(verdict(&known(&[(md5, 1)], Some(1)), &known(&[(md5, 1)], Some(2))), Verdict::Differs);
        assert_eq!(judge(Some(&one), None), (Verdict::OnlyFirst, None));
        assert_eq!(judge(None, Some(&one)), (Verdict::OnlySecond, None));
        let (verdict, why) = judge(Some(&one), Some(&Known::trouble("gone")));
        assert_eq!((verdict, why.as_deref()), (Verdict::Error, Some("B: gone")));
    }
}
