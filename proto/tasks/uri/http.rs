//! `http:` and `https:` URIs (RFC 9110, 4.2): host, perhaps a port, path and query. Whether a worker may go there is its own
//! affair; here only the form is checked.

use super::Scheme;

/// The longest name that a host may have (RFC 1035).
const MAX_HOST_BYTES: usize = 253;

pub(super) fn check(rest: &[u8]) -> Result<(), String> {
    let (authority, path) = split(rest);
    if authority.contains(&b'@') {
        return Err("must have no user name or password: credentials in a URI end up in logs and manifests".to_owned());
    }
    let (host, port) = host_and_port(authority).ok_or("must name a host, perhaps with a port from 1 to 65535")?;
    let wanted = "must name a host by letters, digits, `.`, `-` and `_`, or by its address";
    let literal = host.strip_prefix(b"[").and_then(|host| host.strip_suffix(b"]"));
    let fits = match literal {
        Some(address) => std::str::from_utf8(address).is_ok_and(|text| text.parse::<std::net::Ipv6Addr>().is_ok()),
        None => host.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_')),
    };
    if !fits || !(1..=MAX_HOST_BYTES).contains(&host.len()) {
        return Err(wanted.to_owned());
    }
    if port == Some(0) {
        return Err("must name a port from 1 to 65535, or none".to_owned());
    }
    let mut rest = path;
    while let [byte, tail @ ..] = rest {
        rest = tail;
        match byte {
            b'#' => return Err("must have no fragment (`#…`): servers never see it".to_owned()),
            b'%' if !matches!(tail, [a, b, ..] if a.is_ascii_hexdigit() && b.is_ascii_hexdigit()) => {
                return Err("a `%` must be followed by two hexadecimal digits".to_owned());
            }
            b'"' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}' => {
                return Err(format!("the byte 0x{byte:02X} must be percent-encoded, as %{byte:02X}"));
            }
            byte if !byte.is_ascii_graphic() => {
                return Err(format!("the byte 0x{byte:02X} must be percent-encoded, as %{byte:02X}"));
            }
            _ => {}
        }
    }
    Ok(())
}

/// `https://host[:port]/` in lower case, without a port that goes without saying; the scheme alone if no host ends there.
pub(super) fn origin(scheme: Scheme, rest: &[u8]) -> String {
    let (name, usual) = if scheme == Scheme::Https { ("https", 443) } else { ("http", 80) };
    let found = rest.iter().position(|byte| *byte == b'/').and_then(|end| host_and_port(&rest[..end]));
    let Some((host, port)) = found else { return format!("{name}://") };
    let host = String::from_utf8_lossy(host).to_ascii_lowercase();
    match port.filter(|port| *port != usual) {
        Some(port) => format!("{name}://{host}:{port}/"),
        None => format!("{name}://{host}/"),
    }
}

/// What stands before the path, and path and query.
fn split(rest: &[u8]) -> (&[u8], &[u8]) {
    let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?' | b'#')).unwrap_or(rest.len());
    rest.split_at(end)
}

fn host_and_port(authority: &[u8]) -> Option<(&[u8], Option<u16>)> {
    let behind_literal = authority.iter().rposition(|byte| *byte == b']').map_or(0, |end| end + 1);
    let colon = authority[behind_literal..].iter().position(|byte| *byte == b':').map(|at| at + behind_literal);
    let Some(colon) = colon else { return Some((authority, None)) };
    let digits = std::str::from_utf8(&authority[colon + 1..]).ok()?;
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some((&authority[..colon], Some(digits.parse().ok()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_of_the_usual_forms_are_taken() {
        for url in [
            "example.com",
            "example.com/",
            "EXAMPLE.com:8080/a/b%20c;d=e,f?g=h&i=/?!$'()*+:@~[]",
            "192.0.2.1/x",
            "[2001:db8::1]:443/x",
            "xn--bcher-kva.example/?q",
            "a_b.example?q",
        ] {
            assert_eq!(check(url.as_bytes()), Ok(()), "{url}");
        }
    }

    #[test]
    fn a_url_that_is_none_is_refused_with_the_remedy() {
        let long = format!("{}/", "a".repeat(254));
        for (url, remedy) in [
            ("", "name a host"),
            ("/path", "name a host"),
            (":80/", "name a host"),
            ("user:secret@example.com/", "no user name"),
            ("user@example.com/", "no user name"),
            ("example.com:0/", "1 to 65535"),
            ("example.com:65536/", "1 to 65535"),
            ("example.com:8x/", "1 to 65535"),
            ("example.com:/", "1 to 65535"),
            ("exam ple.com/", "letters"),
            ("ex%61mple.com/", "letters"),
            ("b\u{fc}cher.example/", "letters"),
            ("[::1/", "name a host"),
            ("[1.2.3.4]/", "letters"),
            ("[::1%25eth0]/", "letters"),
            (&long, "letters"),
            ("example.com/a b", "%20"),
            ("example.com/a\\b", "%5C"),
            ("example.com/\u{e4}", "%C3"),
            ("example.com/a#b", "fragment"),
            ("example.com#b", "fragment"),
            ("example.com/%", "two hexadecimal digits"),
            ("example.com/?%zz", "two hexadecimal digits"),
            ("example.com/a\nb", "%0A"),
        ] {
            let error = check(url.as_bytes()).unwrap_err();
            assert!(error.contains(remedy), "{url}: {error}");
        }
    }
}
