//! `hashmesh explain`: what the reasons of errors and the names of metrics mean.

use anyhow::{Result, bail};
use clap::Args;
use hashmesh::error::{Reason, TaskReason};
use hashmesh_runtime::{metrics, trace::code_name};

use crate::{output::print, verbs::exit_code_of};

/// Say what the reason of an error means and what to do, or what a metric counts; without a name, list all reasons.
#[derive(Args, Debug)]
pub(crate) struct ExplainArgs {
    /// A reason as an error shows it, in upper or lower case (OVERLOADED, SOURCE_CHANGED, …); a metric (hashmesh_…); or `metrics`: all
    /// of them.
    #[arg(value_name = "REASON|METRIC")]
    name: Option<String>,
}

impl ExplainArgs {
    pub(crate) fn run(self) -> Result<()> {
        let text = match self.name.as_deref() {
            None => table(),
            Some("metrics") => metrics::table(),
            Some(metric) if metric.starts_with("hashmesh_") => explain_metric(metric)?,
            Some(reason) => explain(&reason.to_ascii_uppercase())?,
        };
        Ok(print(&text)?)
    }
}

fn explain(name: &str) -> Result<String> {
    if let Some(reason) = Reason::named(name) {
        let code = reason.code();
        let exit = exit_code_of(code);
        return Ok(format!(
            "{name}: a call was refused with {}, exit code {exit}.\n{}\n",
            code_name(reason.code()),
            reason.meaning()
        ));
    }
    match TaskReason::named(name) {
        Some(reason) => Ok(format!("{name}: a task failed; its outcome is stored.\n{}\n", reason.meaning())),
        None => bail!("{name:?} is no reason that this version knows; `hashmesh explain` lists all"),
    }
}

/// Also of a series of a histogram, as dashboards name them.
fn explain_metric(name: &str) -> Result<String> {
    match metrics::explain(name) {
        Some(text) => Ok(text),
        None => bail!("{name:?} is no metric that this version has; `hashmesh explain metrics` lists all"),
    }
}

/// Every reason, in Markdown: the README has the same table.
fn table() -> String {
    let calls = Reason::ALL.iter().map(|reason| {
        format!(
            "| `{}` | {}, {} | {} |\n",
            reason.as_str(),
            code_name(reason.code()),
            exit_code_of(reason.code()),
            reason.meaning()
        )
    });
    let tasks = TaskReason::ALL
        .iter()
        .map(|reason| format!("| `{}` | a failed task, 1 | {} |\n", reason.as_str(), reason.meaning()));
    let head = "| reason | gRPC code, exit code | meaning |\n|---|---|---|\n".to_owned();
    std::iter::once(head).chain(calls).chain(tasks).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_readme_has_the_table_of_all_reasons() {
        let readme = include_str!("../../../README.md");
        assert!(readme.contains(&table()), "put this into the README:\n{}", table());
    }

    #[test]
    fn a_reason_is_explained_with_the_code_that_scripts_see_and_an_unknown_one_is_refused() {
        let text = explain("KEY_MISSING").unwrap();
        assert!(text.contains("UNAUTHENTICATED, exit code 80"), "{text}");
        assert!(explain("SOURCE_CHANGED").unwrap().contains("a task failed"));
        assert!(explain("NONSENSE").unwrap_err().to_string().contains("`hashmesh explain`"));
    }

    #[test]
    fn a_metric_is_explained_by_any_name_of_its_series() {
        let text = explain_metric("hashmesh_queue_commit_seconds_bucket").unwrap();
        assert!(text.starts_with("hashmesh_queue_commit_seconds: histogram, s\n"), "{text}");
        assert!(explain_metric("hashmesh_nonsense").unwrap_err().to_string().contains("explain metrics"));
    }

    #[test]
    fn no_reason_is_left_without_a_meaning() {
        assert!(Reason::ALL.iter().all(|reason| reason.meaning().len() > 10));
        assert!(TaskReason::ALL.iter().all(|reason| reason.meaning().len() > 10));
    }
}
