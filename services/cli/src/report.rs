//! Reports of benchmarks, fault and load runs: a table, `target/reports/NAME.json`, a verdict as the last line.
//!
//! `hashmesh report NAME` reads rows (JSON objects) from standard input. A row fails the report if a `--minimum` is not
//! reached or is missing in it; a report without rows fails.

use std::{
    collections::BTreeSet,
    fs,
    io::{self, Read as _},
    path::PathBuf,
    process::{Command, ExitCode},
};

use anyhow::{Context, Result, ensure};
use clap::Args;
use hashmesh_runtime::resources;
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::output::print;

/// Turn rows on standard input (JSON objects) into a report with a verdict.
#[derive(Args, Debug)]
pub(crate) struct ReportArgs {
    /// What was run; names the report's file.
    name: String,
    /// What every row must reach, `field=number`; may be given more than once.
    #[arg(long, value_name = "FIELD=NUMBER", value_parser = minimum)]
    minimum: Vec<Minimum>,
    /// What the run was told, `name=value`; may be given more than once.
    #[arg(long, value_name = "NAME=VALUE", value_parser = setting)]
    setting: Vec<(String, String)>,
    /// Where reports are written.
    #[arg(long, value_name = "DIR", default_value = "target/reports")]
    directory: PathBuf,
}

/// A floor for one field.
#[derive(Clone, Debug, Serialize)]
struct Minimum {
    field: String,
    number: f64,
}

/// A run, as it is kept.
#[derive(Debug, Serialize)]
struct Report {
    name: String,
    commit: String,
    machine: Value,
    settings: Map<String, Value>,
    pass: bool,
    rows: Vec<Map<String, Value>>,
}

fn minimum(text: &str) -> Result<Minimum> {
    let (field, number) = text.split_once('=').context("wanted FIELD=NUMBER")?;
    Ok(Minimum { field: field.to_owned(), number: number.parse().context("wanted FIELD=NUMBER")? })
}

fn setting(text: &str) -> Result<(String, String)> {
    let (name, value) = text.split_once('=').context("wanted NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

impl ReportArgs {
    /// Exit code 0 if the report passes.
    pub(crate) fn run(self) -> ExitCode {
        let name = self.name.clone();
        match self.make() {
            Ok(complaints) if complaints.is_empty() => {
                verdict(&format!("PASS {name}"));
                ExitCode::SUCCESS
            }
            Ok(complaints) => {
                verdict(&format!("FAIL {name}: {}", complaints.join("; ")));
                ExitCode::FAILURE
            }
            Err(error) => {
                verdict(&format!("FAIL {name}: {error:#}"));
                ExitCode::FAILURE
            }
        }
    }

    fn make(self) -> Result<Vec<String>> {
        let mut text = String::new();
        io::stdin().read_to_string(&mut text)?;
        let rows = parse_rows(&text)?;
        let complaints = judge(&rows, &self.minimum);
        print(&table(&rows))?;

        let mut settings: Map<String, Value> =
            self.setting.into_iter().map(|(name, value)| (name, value.into())).collect();
        settings.insert("minimum".to_owned(), serde_json::to_value(&self.minimum)?);
        let pass = complaints.is_empty();
        let report = Report { name: self.name, commit: commit(), machine: machine(), settings, pass, rows };
        fs::create_dir_all(&self.directory)?;
        let path = self.directory.join(format!("{}.json", report.name));
        let written = fs::write(&path, serde_json::to_vec_pretty(&report)?);
        written.with_context(|| format!("cannot write {}", path.display()))?;
        Ok(complaints)
    }
}

fn parse_rows(text: &str) -> Result<Vec<Map<String, Value>>> {
    let rows: Vec<Map<String, Value>> = serde_json::Deserializer::from_str(text)
        .into_iter::<Map<String, Value>>()
        .map(|row| Ok(flat(&row.context("rows must be JSON objects")?)))
        .collect::<Result<_>>()?;
    ensure!(!rows.is_empty(), "there are no rows: the run failed before it had a result");
    Ok(rows)
}

/// `{"a": {"b": 1}}` → `{"a.b": 1}`
fn flat(row: &Map<String, Value>) -> Map<String, Value> {
    let mut flattened = Map::new();
    for (key, value) in row {
        match value {
            Value::Object(inner) => {
                flattened.extend(flat(inner).into_iter().map(|(name, value)| (format!("{key}.{name}"), value)));
            }
            value => drop(flattened.insert(key.clone(), value.clone())),
        }
    }
    flattened
}

/// What is wrong with the rows.
fn judge(rows: &[Map<String, Value>], minimums: &[Minimum]) -> Vec<String> {
    let mut complaints = Vec::new();
    for row in rows {
        for Minimum { field, number } in minimums {
            match row.get(field).and_then(Value::as_f64) {
                Some(found) if found >= *number => {}
                Some(found) => complaints.push(format!("{field} is {found:.0}, wanted at least {number:.0}")),
                None => complaints.push(format!("{field} is missing")),
            }
        }
    }
    complaints
}

/// Columns as wide as their widest value, numbers to the right.
fn table(rows: &[Map<String, Value>]) -> String {
    let columns: BTreeSet<&String> = rows.iter().flat_map(Map::keys).collect();
    let cell = |row: &Map<String, Value>, column: &str| match row.get(column) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Number(number)) => {
            number.as_f64().filter(|_| number.is_f64()).map_or(number.to_string(), |float| format!("{float:.3}"))
        }
        Some(value) => value.to_string(),
        None => String::new(),
    };
    let mut lines = vec![String::new(); rows.len() + 1];
    for column in columns {
        let cells: Vec<String> =
            std::iter::once(column.clone()).chain(rows.iter().map(|row| cell(row, column))).collect();
        let width = cells.iter().map(|text| text.chars().count()).max().unwrap_or(0);
        for (line, text) in lines.iter_mut().zip(cells) {
            line.push_str(&format!("{text:>width$}  "));
        }
    }
    lines.iter().map(|line| format!("{}\n", line.trim_end())).collect()
}

/// The last line. Where nobody reads it, the exit code says the same.
fn verdict(line: &str) {
    let _ = print(&format!("{line}\n"));
}

/// The commit that was run, with a `+` if the tree differs from it.
fn commit() -> String {
    let git = |arguments: &[&str]| {
        let output = Command::new("git").args(arguments).output().ok().filter(|output| output.status.success())?;
        Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let Some(commit) = git(&["rev-parse", "HEAD"]) else { return "unknown".to_owned() };
    let clean = git(&["status", "--porcelain", "--untracked-files=no"]).is_some_and(|changes| changes.is_empty());
    if clean { commit } else { format!("{commit}+") }
}

fn machine() -> Value {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ").map(|(_, name)| name));
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    json!({
        "cpu": model,
        "cpus": resources::cpus(),
        "memory_bytes": resources::memory_bytes(),
        "os": std::env::consts::OS,
        "kernel": kernel.trim(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(text: &str) -> Vec<Map<String, Value>> {
        parse_rows(text).unwrap()
    }

    #[test]
    fn a_row_below_the_minimum_or_without_the_field_fails() {
        let minimums = [minimum("rate=500000").unwrap()];
        assert!(judge(&rows(r#"{"rate": 500000.0}{"rate": 600000}"#), &minimums).is_empty());
        assert_eq!(judge(&rows(r#"{"rate": 499999}"#), &minimums), ["rate is 499999, wanted at least 500000"]);
        assert_eq!(judge(&rows(r#"{"other": 1}"#), &minimums), ["rate is missing"]);
        parse_rows("").unwrap_err();
    }

    #[test]
    fn nested_values_become_columns_with_dots() {
        let rows = rows(r#"{"tasks": 10, "ms": {"p50": 1.5}}"#);
        assert_eq!(table(&rows), "ms.p50  tasks\n 1.500     10\n");
    }
}
