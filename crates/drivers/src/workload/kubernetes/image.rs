//! Image references: whether one can be one.

/// Longest reference that a registry takes, digest included.
const CHARS_MAX: usize = 512;

/// Checks the syntax of an image reference: `host:port/path/name:tag@sha256:…`.
pub(super) fn check(image: &str) -> Result<(), String> {
    let wrong = |what: &str| {
        Err(format!(
            "\"{image}\" is not an image reference ({what}); give one such as registry.example/shop/web:1.2, or with a digest @sha256:…"
        ))
    };
    if image.is_empty() || image.chars().count() > CHARS_MAX {
        return wrong("it is empty or too long");
    }
    let (name, digest) = match image.split_once('@') {
        Some((name, digest)) => (name, Some(digest)),
        None => (image, None),
    };
    if digest.is_some_and(|it| !is_digest(it)) {
        return wrong("after @ comes sha256: and 64 hexadecimal digits");
    }
    let (path, tag) = split_tag(name);
    if tag.is_some_and(|it| !is_tag(it)) {
        return wrong("a tag has 1 to 128 letters, digits, '.', '_' and '-'");
    }
    let mut parts: Vec<&str> = path.split('/').collect();
    let is_host = |it: &&str| it.contains(['.', ':']) || *it == "localhost";
    if parts.len() > 1 && parts.first().is_some_and(is_host) {
        let host = parts.remove(0);
        if !is_host_and_port(host) {
            return wrong("its registry is no host");
        }
    }
    match parts.iter().all(|it| is_component(it)) {
        true => Ok(()),
        false => {
            wrong("a name has small letters and digits, with single '.', '_' or '-' in between")
        }
    }
}

/// The tag comes after the last colon, unless that one belongs to the registry's port.
fn split_tag(name: &str) -> (&str, Option<&str>) {
    match name.rsplit_once(':') {
        Some((path, tag)) if !tag.contains('/') => (path, Some(tag)),
        Some(_) | None => (name, None),
    }
}

fn is_digest(digest: &str) -> bool {
    let hex = digest.strip_prefix("sha256:");
    hex.is_some_and(|it| it.len() == 64 && it.bytes().all(|b| b.is_ascii_hexdigit()))
}

fn is_tag(tag: &str) -> bool {
    let plain = |it: u8| it.is_ascii_alphanumeric() || it == b'_';
    let mut bytes = tag.bytes();
    bytes.next().is_some_and(plain)
        && tag.len() <= 128
        && bytes.all(|it| plain(it) || it == b'.' || it == b'-')
}

fn is_host_and_port(host: &str) -> bool {
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) => (name, Some(port)),
        None => (host, None),
    };
    let plain = |it: u8| it.is_ascii_alphanumeric() || b".-[]:".contains(&it);
    !name.is_empty()
        && name.bytes().all(plain)
        && port.is_none_or(|it| it.parse::<u16>().is_ok_and(|it| it > 0))
}

fn is_component(component: &str) -> bool {
    let plain = |it: &u8| it.is_ascii_lowercase() || it.is_ascii_digit();
    let bytes = component.as_bytes();
    bytes.first().is_some_and(plain)
        && bytes.last().is_some_and(plain)
        && bytes.iter().all(|it| plain(it) || b"._-".contains(it))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn image_references_are_told_from_what_is_none() {
        let digest = format!("sha256:{}", "a0".repeat(32));
        let good = [
            "web".to_owned(),
            "web:v1".to_owned(),
            "shop/web:1.2.3-rc_1".to_owned(),
            "registry.example:5000/shop/web".to_owned(),
            "localhost/web:1".to_owned(),
            format!("ghcr.io/shop/web:1@{digest}"),
            format!("web@{digest}"),
        ];
        for image in &good {
            assert_eq!(check(image), Ok(()), "{image}");
        }
        let bad = [
            "",
            "Web:v1",
            "web:",
            "web:v 1",
            "web@sha256:123",
            "/web",
            "shop//web",
            "web:1:2",
            "-web",
            "registry.example:0/web",
            "https://registry.example/web",
        ];
        for image in bad {
            let refused = check(image).unwrap_err();
            assert!(refused.contains("give one such as"), "{refused}");
        }
    }
}
