//! Which Postgres the mesh on this machine uses, for `hashmesh config`.

use std::path::Path;

use anyhow::Result;

use crate::{settings::Origin, up::State};

/// The database of the `up` that these settings mean: the one on a data directory that was named, else the one behind a
/// server that was named, else the one on the default data directory, else the one behind the default server.
pub(crate) fn find(
    (data_dir, data_dir_origin): (&Path, &Origin),
    (server, server_origin): (&str, &Origin),
) -> Result<Option<(String, Origin)>> {
    let in_data_dir = || found(State::of_data_dir(data_dir)?, &format!("up --data-dir {}", data_dir.display()));
    let behind_server = || match port(server) {
        Some(port) => found(State::of_port(port)?, &format!("up behind {server}")),
        None => Ok(None),
    };
    match (data_dir_origin, server_origin) {
        (Origin::Default, Origin::Default) => {
            Ok(in_data_dir().or_else(|_| Ok::<_, anyhow::Error>(None))?.or(behind_server()?))
        }
        (Origin::Default, _) => behind_server(),
        _ => in_data_dir(),
    }
}

fn found(state: Option<State>, how: &str) -> Result<Option<(String, Origin)>> {
    Ok(state.map(|state| (state.database_url, Origin::Found(how.to_owned()))))
}

/// The port of a URL or of `HOST:PORT`.
fn port(server: &str) -> Option<u16> {
    let address = server.split_once("://").map_or(server, |(_, rest)| rest);
    let authority = address.split(['/', '?']).next()?;
    authority.rsplit_once(':')?.1.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_is_found_in_every_spelling_of_a_server() {
        assert_eq!(port("http://127.0.0.1:7420"), Some(7420));
        assert_eq!(port("https://[::1]:80/x"), Some(80));
        assert_eq!(port("localhost:1"), Some(1));
        assert_eq!(port("http://localhost"), None);
    }
}
