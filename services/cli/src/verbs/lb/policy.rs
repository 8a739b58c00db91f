//! `hashmesh lb policy [POLICY]`: how Envoy chooses a Gateway, changed while it runs.

use std::path::PathBuf;

use clap::Args;
use hashmesh_runtime::envoy::Policy;

use super::{
    super::{
        failure::{self, Failure},
        output::write_text,
    },
    file,
};

/// Show how Envoy chooses a Gateway, or change it: what is under way goes on where it is.
#[derive(Args, Debug)]
pub(super) struct PolicyArgs {
    /// round-robin; least-request (of two, the one with fewer calls under way); random; source-ip (an address keeps its
    /// Gateway, as long as that is there); ring-hash (the same, by a ring).
    #[arg(value_name = "POLICY")]
    policy: Option<Policy>,
    /// The file that Envoy watches for its cluster `gateway`.
    #[arg(long, value_name = "FILE", env = "HASHMESH_LB_FILE", default_value = "envoy/lb/gateway.yaml")]
    file: PathBuf,
}

impl PolicyArgs {
    pub(super) async fn run(self) -> Result<u8, Failure> {
        let text = file::read(&self.file)?;
        let line = PolicyLine::find(&text).map_err(|why| Failure::Local(format!("{}: {why}", self.file.display())))?;
        let Some(policy) = self.policy else {
            let found = Policy::of_envoy(line.value).map_or_else(|| line.value.to_owned(), |policy| policy.to_string());
            write_text(&format!("{found}\n")).await?;
            return Ok(failure::OK);
        };
        file::replace(&self.file, &line.with(policy))?;
        write_text(&format!("{policy}\n")).await?;
        Ok(failure::OK)
    }
}

/// The one line that says it. All others, with what people have written beside them, stay as they are.
struct PolicyLine<'a> {
    before: &'a str,
    value: &'a str,
    after: &'a str,
}

impl<'a> PolicyLine<'a> {
    const KEY: &'static str = "lb_policy:";

    fn find(text: &'a str) -> Result<Self, String> {
        let lines = text.split_inclusive('\n').scan(0, |offset, line| {
            let start = *offset;
            *offset += line.len();
            Some((start, line))
        });
        let mut found = lines.filter(|(_, line)| line.trim_start().starts_with(Self::KEY));
        let (Some((start, line)), None) = (found.next(), found.next()) else {
            return Err(format!("wanted exactly one line `{} POLICY`", Self::KEY));
        };
        let key_end = start + line.find(Self::KEY).unwrap_or_default() + Self::KEY.len();
        let rest = &text[key_end..start + line.len()];
        let value = rest.split('#').next().unwrap_or_default().trim();
        if value.is_empty() {
            return Err(format!("`{}` has no value", Self::KEY));
        }
        let value_start = key_end + rest.find(value).unwrap_or_default();
        let value_end = value_start + value.len();
        Ok(Self { before: &text[..value_start], value: &text[value_start..value_end], after: &text[value_end..] })
    }

    fn with(&self, policy: Policy) -> String {
        [self.before, policy.in_envoy(), self.after].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_policy_changes_and_comments_stay() {
        let text = "# lb_policy: not this\nresources:\n  - name: gateway\n    lb_policy: LEAST_REQUEST   # why\n    type: EDS\n";
        let line = PolicyLine::find(text).unwrap();
        assert_eq!(line.value, "LEAST_REQUEST");
        assert_eq!(line.with(Policy::SourceIp), text.replace("LEAST_REQUEST", "MAGLEV"));
    }

    #[test]
    fn a_file_with_no_such_line_or_two_is_not_touched() {
        for text in ["", "lb_policy:\n", "a: b\n", "lb_policy: RANDOM\nlb_policy: MAGLEV\n"] {
            assert!(PolicyLine::find(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn the_files_that_come_with_hashmesh_have_it() {
        let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/../../envoy/lb");
        for name in ["gateway.yaml", "gateway.dev.yaml"] {
            let text = std::fs::read_to_string(format!("{directory}/{name}")).unwrap();
            assert_eq!(PolicyLine::find(&text).unwrap().value, "LEAST_REQUEST", "{name}");
        }
    }
}
