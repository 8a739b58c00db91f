//! Who may use a Gateway, and from where.

use std::net::SocketAddr;

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};
use hashmesh_gateway::Auth;

/// Who may use the mesh.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct AccessArgs {
    /// Whether callers need an API key; default: `off` on loopback, `keys` on any other address.
    #[arg(long, value_enum, value_name = "MODE")]
    auth: Option<AuthMode>,
    /// Listen on an address that others can reach although what they send, keys included, is not encrypted.
    #[arg(long)]
    insecure: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum AuthMode {
    /// Everybody is tenant `default`.
    Off,
    /// Callers show a key, which says whose they are and what they may do.
    Keys,
}

impl AccessArgs {
    /// Whether keys are checked by a Gateway that is bound to this address, if it may be.
    pub(crate) fn resolve(self, address: SocketAddr) -> Result<Auth> {
        let loopback = address.ip().to_canonical().is_loopback();
        if !loopback && !self.insecure {
            bail!(
                "refusing to serve on {address}, which others can reach: nothing would be encrypted. Listen on 127.0.0.1 \
                 behind a proxy that ends TLS; or, on a network where nobody listens in, say --insecure"
            );
        }
        let default = if loopback { AuthMode::Off } else { AuthMode::Keys };
        Ok(match self.auth.unwrap_or(default) {
            AuthMode::Off => Auth::Off,
            AuthMode::Keys => Auth::Keys,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_can_reach_is_refused_unless_asked_for_and_then_wants_keys() {
        let resolve = |auth, insecure, address: &str| AccessArgs { auth, insecure }.resolve(address.parse().unwrap());
        for loopback in ["127.0.0.1:1", "127.9.9.9:1", "[::1]:1", "[::ffff:127.0.0.1]:1"] {
            assert_eq!(resolve(None, false, loopback).unwrap(), Auth::Off, "{loopback}");
            assert_eq!(resolve(Some(AuthMode::Keys), false, loopback).unwrap(), Auth::Keys);
        }
        for reachable in ["0.0.0.0:1", "10.0.0.1:1", "[::]:1", "[2001:db8::1]:1"] {
            assert!(resolve(None, false, reachable).is_err(), "{reachable}");
            assert!(resolve(Some(AuthMode::Keys), false, reachable).is_err());
            assert_eq!(resolve(None, true, reachable).unwrap(), Auth::Keys);
            assert_eq!(resolve(Some(AuthMode::Off), true, reachable).unwrap(), Auth::Off);
        }
    }
}
