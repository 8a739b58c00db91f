//! `hashmesh certs`: an authority and certificates to begin with, for a mesh without a certificate management of its own.

mod authority;
mod files;

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use hashmesh_runtime::tls::{Role, ServiceId};

use self::{
    authority::Authority,
    files::{Made, replace, write_new},
};
use crate::output::print;

/// Who uses the mesh: a certificate without a role, for clients that a Gateway is to know by one.
const CLIENT: &str = "client";

/// Make an authority and a certificate for each role: enough for development, or for a mesh of a few machines.
#[derive(Args, Debug)]
pub(crate) struct CertsArgs {
    /// Where they are put; made if need be.
    #[arg(long, value_name = "DIR")]
    directory: PathBuf,
    /// Names and addresses under which clients reach the Gateway, beside localhost, 127.0.0.1 and ::1.
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    host: Vec<String>,
    /// How many days the certificates are valid; the authority is for ten years.
    #[arg(long, value_name = "N", default_value_t = 365, value_parser = clap::value_parser!(u32).range(1..=3650))]
    days: u32,
    /// Whose mesh it is: part of each service's name, spiffe://TRUST_DOMAIN/hashmesh/ROLE.
    #[arg(long, value_name = "NAME", default_value = "hashmesh.internal")]
    trust_domain: String,
    /// Make new certificates of the authority that is there. Processes take them up by themselves within seconds.
    #[arg(long)]
    renew: bool,
    /// Make an authority if there is none, and new certificates in any case: for what is run at every start.
    #[arg(long, conflicts_with = "renew")]
    ensure: bool,
}

impl CertsArgs {
    pub(crate) fn run(self) -> Result<()> {
        let Some(trust_domain) = ServiceId::trust_domain(&self.trust_domain) else {
            bail!(
                "wanted a --trust-domain of lower-case letters, digits, dots, dashes and underscores, found {:?}",
                self.trust_domain
            );
        };
        let directory = self.directory.as_path();
        fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
        let [ca, ca_key] = ["ca.pem", "ca.key"].map(|name| directory.join(name));
        let names = Role::ALL.iter().map(|role| role.name()).chain([CLIENT]);
        let names: Vec<&str> = names.collect();
        let mut made = Made::default();
        let authority = if self.renew || (self.ensure && ca_key.exists()) {
            let key = fs::read_to_string(&ca_key);
            let key = key.with_context(|| format!("cannot read {}: nothing to renew with", ca_key.display()))?;
            ensure!(ca.exists(), "there is no {}: make an authority without --renew first", ca.display());
            Authority::of_key(&key).with_context(|| format!("cannot use {}", ca_key.display()))?
        } else {
            let all = names.iter().flat_map(|name| pair(directory, name)).chain([ca.clone(), ca_key.clone()]);
            if let Some(there) = all.into_iter().find(|path| path.exists()) {
                bail!(
                    "{} is there already, and nothing is overwritten: say --renew for new certificates of the same \
                     authority, or choose another --directory",
                    there.display()
                );
            }
            let authority = Authority::new()?;
            write_new(&ca_key, &authority.key_pem(), 0o600, &mut made)?;
            write_new(&ca, &authority.certificate_pem()?, 0o644, &mut made)?;
            authority
        };
        for name in names {
            let uri = (name != CLIENT).then(|| format!("spiffe://{trust_domain}/hashmesh/{name}"));
            let (certificate, key) = authority.issue(name, uri.as_deref(), &self.hosts(), self.days)?;
            let [certificate_path, key_path] = pair(directory, name);
            // The key first: a certificate without its key is of no use, and who reads both in between keeps the old ones.
            replace(&key_path, &key, 0o600, &mut made)?;
            replace(&certificate_path, &certificate, 0o644, &mut made)?;
        }
        Ok(print(&self.text(&made))?)
    }

    fn hosts(&self) -> Vec<String> {
        let mut hosts: Vec<String> = ["localhost", "127.0.0.1", "::1"].map(str::to_owned).to_vec();
        for host in &self.host {
            let host = host.trim().trim_start_matches('[').trim_end_matches(']').to_owned();
            if !host.is_empty() && !hosts.contains(&host) {
                hosts.push(host);
            }
        }
        hosts
    }

    fn text(&self, made: &Made) -> String {
        let directory = self.directory.display();
        let mut text = String::new();
        for path in made.paths() {
            let _ = writeln!(text, "{}", path.display());
        }
        let of = |name: &str| {
            format!("--tls-cert {directory}/{name}.pem --tls-key {directory}/{name}.key --tls-ca {directory}/ca.pem")
        };
        let _ = write!(text, "\nvalid for {} days, for {}\n\n", self.days, self.hosts().join(", "));
        let _ = writeln!(text, "hashmesh up --auth keys {}", of("gateway"));
        for role in Role::ALL {
            let _ = writeln!(text, "hashmesh {role} … {}", of(role.name()));
        }
        let _ = writeln!(text, "hashmesh submit … --server https://HOST:PORT --tls-ca {directory}/ca.pem");
        let _ = writeln!(text, "grpcurl -cacert {directory}/ca.pem HOST:PORT list");
        let _ = writeln!(
            text,
            "\nKeep {directory}/ca.key where no process of the mesh can read it: who has it is every service."
        );
        text
    }
}

fn pair(directory: &Path, name: &str) -> [PathBuf; 2] {
    ["pem", "key"].map(|kind| directory.join(format!("{name}.{kind}")))
}

#[cfg(test)]
mod tests;
