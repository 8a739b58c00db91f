//! Where the mesh is.

use std::{
    fs,
    net::IpAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Args;
use hashmesh::{
    client::{Client, ClientConfig, TlsOptions},
    keys::KeyText,
};

use super::{failure::Failure, traced};

/// Where the mesh is, and how long to wait for it.
#[derive(Args, Clone, Debug)]
pub(super) struct ServerArgs {
    /// The mesh.
    #[arg(long, value_name = "URL", default_value = ClientConfig::DEFAULT_SERVER)]
    server: String,
    /// An API key, or @FILE for a file that holds one; better in a file or in the environment (HASHMESH_API_KEY) than where
    /// `ps` shows it.
    #[arg(long, value_name = "KEY|@FILE")]
    api_key: Option<String>,
    /// The authorities (PEM) whose certificates an https:// mesh may show; default: the system's.
    #[arg(long, value_name = "FILE")]
    tls_ca: Option<PathBuf>,
    /// A certificate (PEM) to show to an https:// mesh that asks for one.
    #[arg(long, value_name = "FILE")]
    tls_cert: Option<PathBuf>,
    /// The certificate's private key (PEM).
    #[arg(long, value_name = "FILE")]
    tls_key: Option<PathBuf>,
    /// Send the API key to another machine although the mesh there speaks plain text.
    #[arg(long)]
    insecure: bool,
    /// How long to wait out an outage of the mesh.
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = humantime::parse_duration)]
    retry_for: Duration,
}

impl ServerArgs {
    pub(super) fn client(&self) -> Result<Client, Failure> {
        connect(self.config()?)
    }

    /// A client that tells of every failure at once, for one who goes on by himself. Each call takes so long at most.
    pub(super) fn client_of_single_attempts(&self, timeout: Duration) -> Result<Client, Failure> {
        let config = self.config()?;
        connect(ClientConfig {
            retry_for: Duration::ZERO,
            connect_timeout: timeout,
            attempt_timeout: timeout,
            ..config
        })
    }

    /// How long an outage is waited out.
    pub(super) fn retry_for(&self) -> Duration {
        self.retry_for
    }

    fn config(&self) -> Result<ClientConfig, Failure> {
        Ok(ClientConfig {
            api_key: self.api_key()?,
            tls: self.tls()?,
            insecure: self.insecure,
            retry_for: self.retry_for,
            ..ClientConfig::new(&self.server)
        })
    }

    /// The certificate that is shown, if one is.
    pub(super) fn own_certificate(&self) -> Option<&Path> {
        self.tls_cert.as_deref()
    }

    fn tls(&self) -> Result<TlsOptions, Failure> {
        let read = |flag: &str, path: &Path| {
            fs::read(path).map_err(|error| Failure::Usage(format!("{flag}: cannot read {}: {error}", path.display())))
        };
        let mut options = TlsOptions::default();
        if let Some(path) = &self.tls_ca {
            options = options.authorities(read("--tls-ca", path)?);
        }
        match (&self.tls_cert, &self.tls_key) {
            (Some(certificate), Some(key)) => {
                Ok(options.certificate(read("--tls-cert", certificate)?, read("--tls-key", key)?))
            }
            (None, None) => Ok(options),
            _ => Err(Failure::Usage("--tls-cert and --tls-key are of use together only".to_owned())),
        }
    }

    /// Never repeated in an error.
    fn api_key(&self) -> Result<Option<KeyText>, Failure> {
        let Some(given) = &self.api_key else { return Ok(None) };
        let (text, origin) = match given.strip_prefix('@') {
            Some(path) => {
                let failed = |error| Failure::Usage(format!("--api-key: cannot read {path}: {error}"));
                (fs::read_to_string(path).map_err(failed)?, path)
            }
            None => (given.clone(), "--api-key"),
        };
        let key = KeyText::parse(text.trim());
        key.map(Some).map_err(|error| Failure::Usage(format!("{origin}: {error}")))
    }
}

fn connect(config: ClientConfig) -> Result<Client, Failure> {
    Client::connect(config).map(traced::client).map_err(|error| Failure::Usage(error.to_string()))
}

/// True if the mesh is on this machine, so that a path may mean the same file there.
pub(super) fn on_loopback(client: &Client) -> bool {
    let host = client.host();
    host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn loopback_is_told_from_other_hosts() {
        for (server, expected) in [
            ("http://127.0.0.1:7420", true),
            ("http://127.8.9.1:1", true),
            ("http://[::1]:7420", true),
            ("http://localhost:7420", true),
            ("http://localhost.example:7420", false),
            ("http://10.0.0.1:7420", false),
        ] {
            let client = Client::connect(ClientConfig::new(server)).unwrap();
            assert_eq!(on_loopback(&client), expected, "{server}");
        }
    }
}
