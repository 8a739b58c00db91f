//! The documentation's table, made of the catalogue.

use std::fmt::Write as _;

use super::{
    catalogue,
    definition::{Definition, Label, Section, Values},
};

/// `observability/METRICS.md`.
#[must_use]
pub fn table() -> String {
    let mut text = String::from(
        "# Metrics\n\nMade of `services/runtime/src/metrics/catalogue/` by `make metrics`; a test compares.\n\n\
         Served by each process at `/metrics` of its admin address, and sent by OTLP where a collector is named. Each is there from \
         the start, at 0 where nothing happened yet. Histograms have `_bucket`, `_sum` and `_count`.\n",
    );
    for section in Section::ALL {
        // Writing to a string does not fail, here and below.
        let _ = write!(text, "\n## {}\n\n| metric | kind | labels | meaning |\n|---|---|---|---|\n", section.title());
        for any in catalogue::of(section) {
            line(&mut text, any.definition());
        }
    }
    text
}

/// What is known of a metric, or of the one that this series of a histogram belongs to.
#[must_use]
pub fn explain(name: &str) -> Option<String> {
    let all = || Section::ALL.into_iter().flat_map(catalogue::of).map(|any| any.definition());
    let series = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
    let found = all().find(|known| known.name == name || series == Some(known.name))?;
    let labels: String = found.labels.iter().map(|known| format!("label {}\n", label(known))).collect();
    let unit = found.unit.trim_matches(['{', '}']);
    Some(format!("{}: {}, {unit}\n{labels}{}\n", found.name, found.kind.name(), found.help.trim()))
}

fn line(text: &mut String, definition: &Definition) {
    let labels: Vec<_> = definition.labels.iter().map(label).collect();
    let meaning = definition.help.trim().replace('|', r"\|");
    let unit = definition.unit.trim_matches(['{', '}']);
    let _ = writeln!(
        text,
        "| `{}` | {}, {unit} | {} | {meaning} |",
        definition.name,
        definition.kind.name(),
        labels.join("; ")
    );
}

fn label(label: &Label) -> String {
    match label.values {
        Values::Known(values) => format!("`{}`: {}", label.name, values.join(", ")),
        Values::Named(what) => format!("`{}`: {}", label.name, what.trim_matches(['<', '>'])),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{super::definition::Kind, *};

    fn all() -> impl Iterator<Item = &'static Definition> {
        Section::ALL.into_iter().flat_map(catalogue::of).map(|any| any.definition())
    }

    #[test]
    fn names_follow_the_rules_and_are_unique() {
        let mut names = BTreeSet::new();
        for definition in all() {
            let name = definition.name;
            assert!(names.insert(name), "{name} is there twice");
            assert!(name.starts_with("hashmesh_"), "{name}");
            assert!(name.chars().all(|c| c.is_ascii_lowercase() || c == '_'), "{name}");
            assert_eq!(name.ends_with("_total"), definition.kind == Kind::Counter, "{name}");
            let unit = match definition.unit {
                "s" => "seconds",
                "By" => "bytes",
                _ => continue,
            };
            assert!(name.trim_end_matches("_total").ends_with(unit), "{name} is in {unit}");
        }
    }

    #[test]
    fn labels_of_known_values_make_few_series() {
        for definition in all() {
            assert!(definition.known_series().len() <= 32, "{}", definition.name);
        }
    }
}
