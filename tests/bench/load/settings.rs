//! What the command line says.

use std::{collections::BTreeMap, net::SocketAddr};

use crate::{Outcome, processes::Processes};

#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) profile: String,
    pub(crate) servers: Vec<SocketAddr>,
    pub(crate) processes: Processes,
    values: BTreeMap<String, String>,
}

impl Settings {
    pub(crate) fn read(mut arguments: impl Iterator<Item = String>) -> Outcome<Self> {
        let usage = "usage: load PROFILE SERVER,… NAME=PID,… [NAME=VALUE…]";
        let (profile, servers, processes) =
            (arguments.next().ok_or(usage)?, arguments.next().ok_or(usage)?, arguments.next().ok_or(usage)?);
        let servers = servers.split(',').map(str::parse).collect::<Result<Vec<_>, _>>()?;
        let pair = |text: String| Some(text.split_once('=')?).map(|(name, value)| (name.to_owned(), value.to_owned()));
        let values = arguments.map(|text| pair(text).ok_or(usage)).collect::<Result<_, _>>()?;
        Ok(Self { profile, servers, processes: Processes::read(&processes)?, values })
    }

    /// A number, or what it is if nothing is said.
    pub(crate) fn number(&self, name: &str, usual: u64) -> Outcome<u64> {
        self.values.get(name).map_or(Ok(usual), |text| text.parse()).map_err(|_| format!("{name} is no number").into())
    }

    pub(crate) fn text<'a>(&'a self, name: &str, usual: &'a str) -> &'a str {
        self.values.get(name).map_or(usual, String::as_str)
    }
}
