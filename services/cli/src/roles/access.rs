//! Who may use a process, and from where: what others can reach asks who they are, and is encrypted.

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
    #[command(flatten)]
    reach: ReachArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum AuthMode {
    /// Everybody is tenant `default`.
    Off,
    /// Callers show a key, which says whose they are and what they may do.
    Keys,
}

/// From where a process may be used.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct ReachArgs {
    /// Listen on an address that others can reach, although they can read along or need not say who they are.
    #[arg(long)]
    insecure: bool,
}

impl AccessArgs {
    /// Whether keys are checked by a Gateway that is bound to this address, if it may be. `encrypted`: it speaks TLS.
    pub(crate) fn resolve(self, address: SocketAddr, encrypted: bool) -> Result<Auth> {
        let loopback = on_loopback(address);
        let default = if loopback { AuthMode::Off } else { AuthMode::Keys };
        let auth = match self.auth.unwrap_or(default) {
            AuthMode::Off => Auth::Off,
            AuthMode::Keys => Auth::Keys,
        };
        if loopback || self.reach.insecure {
            return Ok(auth);
        }
        if !encrypted {
            bail!(
                "refusing to serve on {address}, which others can reach: nothing would be encrypted, keys included. Say \
                 --tls-cert FILE --tls-key FILE (`hashmesh certs` makes some to begin with) and --auth keys; or listen on \
                 127.0.0.1; or, on a network where nobody listens in, say --insecure"
            );
        }
        if auth == Auth::Off {
            bail!(
                "refusing to serve on {address}, which others can reach, with --auth off: everybody could use the mesh. \
                 Say --auth keys; or, where everybody may, --insecure"
            );
        }
        Ok(auth)
    }
}

impl ReachArgs {
    /// Whether a service behind the Gateway may be bound to this address. `mutual`: it speaks TLS and wants certificates.
    pub(crate) fn check(self, address: SocketAddr, mutual: bool) -> Result<()> {
        if mutual || self.insecure || on_loopback(address) {
            return Ok(());
        }
        bail!(
            "refusing to serve on {address}, which others can reach: whoever does would be believed, and could read along. \
             Say --tls-cert FILE --tls-key FILE --tls-ca FILE (`hashmesh certs` makes some to begin with); or listen on \
             127.0.0.1; or, on a network of the mesh's own, say --insecure"
        )
    }
}

fn on_loopback(address: SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOOPBACK: [&str; 4] = ["127.0.0.1:1", "127.9.9.9:1", "[::1]:1", "[::ffff:127.0.0.1]:1"];
    const REACHABLE: [&str; 4] = ["0.0.0.0:1", "10.0.0.1:1", "[::]:1", "[2001:db8::1]:1"];

    #[test]
    fn a_gateway_that_others_can_reach_wants_tls_and_keys_unless_told_otherwise() {
        let resolve = |auth, insecure, address: &str, encrypted| {
            AccessArgs { auth, reach: ReachArgs { insecure } }.resolve(address.parse().unwrap(), encrypted)
        };
        let (off, keys) = (Some(AuthMode::Off), Some(AuthMode::Keys));
        for address in LOOPBACK {
            for encrypted in [false, true] {
                assert_eq!(resolve(None, false, address, encrypted).unwrap(), Auth::Off, "{address}");
                assert_eq!(resolve(keys, false, address, encrypted).unwrap(), Auth::Keys);
            }
        }
        for address in REACHABLE {
            for auth in [None, off, keys] {
                let error = resolve(auth, false, address, false).unwrap_err().to_string();
                assert!(
                    ["--tls-cert", "hashmesh certs", "--auth keys"].iter().all(|say| error.contains(say)),
                    "{error}"
                );
            }
            assert!(resolve(off, false, address, true).unwrap_err().to_string().contains("--auth keys"));
            assert_eq!(resolve(None, false, address, true).unwrap(), Auth::Keys, "{address}");
            assert_eq!(resolve(None, true, address, false).unwrap(), Auth::Keys);
            assert_eq!(resolve(off, true, address, false).unwrap(), Auth::Off);
        }
    }

    #[test]
    fn an_inner_service_that_others_can_reach_wants_certificates_unless_told_otherwise() {
        let check = |insecure, address: &str, mutual| ReachArgs { insecure }.check(address.parse().unwrap(), mutual);
        for address in LOOPBACK {
            check(false, address, false).unwrap();
        }
        for address in REACHABLE {
            let error = check(false, address, false).unwrap_err().to_string();
            assert!(["--tls-ca", "hashmesh certs"].iter().all(|say| error.contains(say)), "{error}");
            check(false, address, true).unwrap();
            check(true, address, false).unwrap();
        }
    }
}
