//! Networks by address and prefix length, and where a request came from behind proxies.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use axum::http::HeaderMap;

/// What proxies add the client's address to.
const X_FORWARDED_FOR: &str = "x-forwarded-for";
/// Most addresses of that header that are looked at, from the last one on.
const HOPS_MAX: usize = 16;

/// One network, e.g. `10.0.0.0/8`; an address alone is a network of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Network {
    /// The address with the bits after the prefix cleared; IPv4 as ::ffff:a.b.c.d.
    bits: u128,
    /// How many bits count, of 128.
    prefix: u32,
}

/// A list of networks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Networks(Vec<Network>);

impl Network {
    fn parse(text: &str) -> Option<Self> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().ok()?;
        let width: u32 = if address.is_ipv4() { 32 } else { 128 };
        let prefix = prefix.map_or(Some(width), |it| it.parse().ok())?;
        let prefix = (prefix <= width).then(|| prefix + 128 - width)?;
        let bits = bits(address) & mask(prefix);
        Some(Self { bits, prefix })
    }

    fn holds(self, address: IpAddr) -> bool {
        bits(address) & mask(self.prefix) == self.bits
    }
}

/// Both families as 128 bits, so that an IPv4 client of an IPv6 socket is the same client.
fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(it) => it.to_ipv6_mapped().to_bits(),
        IpAddr::V6(it) => it.to_bits(),
    }
}

fn mask(prefix: u32) -> u128 {
    u128::MAX.checked_shl(128 - prefix).unwrap_or(0)
}

impl Networks {
    /// Reads a list of addresses and networks. `Err`: the number of the first that is neither.
    pub fn parse<T: AsRef<str>>(texts: &[T]) -> Result<Self, usize> {
        let networks = texts.iter().enumerate();
        networks
            .map(|(index, text)| Network::parse(text.as_ref().trim()).ok_or(index))
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// Whether one of them holds `address`.
    pub fn hold(&self, address: IpAddr) -> bool {
        self.0.iter().any(|it| it.holds(address))
    }

    /// Where a request comes from, these networks being the proxies' that are trusted: its peer, or
    /// what the peer says when it is a trusted proxy. A header that cannot be read, or that names
    /// more hops than sensible, proves nothing, so the nearest hop that is sure is the answer.
    pub fn source(&self, peer: SocketAddr, headers: &HeaderMap) -> IpAddr {
        let mut source = peer.ip().to_canonical();
        let mut lines: Vec<_> = headers.get_all(X_FORWARDED_FOR).iter().collect();
        lines.reverse();
        let hops = lines.iter().flat_map(|it| {
            let text = it.to_str().unwrap_or_default();
            text.rsplit(',').map(str::trim)
        });
        for hop in hops.take(HOPS_MAX) {
            if !self.hold(source) {
                return source;
            }
            match address(hop) {
                Some(address) => source = address,
                None => return source,
            }
        }
        source
    }
}

/// An address, with the port that some proxies add.
fn address(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|it| it.strip_suffix(']'));
    let address = match text.parse::<SocketAddr>() {
        Ok(with_port) => with_port.ip(),
        Err(_) => bare.unwrap_or(text).parse().ok()?,
    };
    Some(address.to_canonical())
}

/// What counts as one source for limits: an IPv4 address, or the /64 that a site with IPv6 has.
pub(crate) fn site(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(it) => IpAddr::V6(Ipv6Addr::from_bits(it.to_bits() & mask(64))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(trusted: &[&str], peer: &str, forwarded: &[&str]) -> String {
        let mut headers = HeaderMap::new();
        for value in forwarded {
            headers.append(X_FORWARDED_FOR, value.parse().unwrap());
        }
        let networks = Networks::parse(trusted).unwrap();
        let peer = SocketAddr::new(peer.parse().unwrap(), 40000);
        networks.source(peer, &headers).to_string()
    }

    #[test]
    fn only_trusted_proxies_are_believed() {
        let check = |trusted: &[&str], peer: &str, forwarded: &[&str], expect: &str| {
            assert_eq!(
                source(trusted, peer, forwarded),
                expect,
                "{peer} {forwarded:?}"
            );
        };
        check(&[], "127.0.0.1", &["6.6.6.6"], "127.0.0.1");
        check(&["127.0.0.1"], "127.0.0.1", &[], "127.0.0.1");
        check(&["127.0.0.1"], "127.0.0.1", &["9.9.9.9"], "9.9.9.9");
        // What a client claims stands before what the proxy adds.
        check(
            &["127.0.0.1"],
            "127.0.0.1",
            &["6.6.6.6, 9.9.9.9"],
            "9.9.9.9",
        );
        check(
            &["127.0.0.1"],
            "127.0.0.1",
            &["6.6.6.6", "9.9.9.9"],
            "9.9.9.9",
        );
        check(
            &["10.0.0.0/8"],
            "10.1.1.1",
            &["6.6.6.6, 9.9.9.9, 10.2.2.2"],
            "9.9.9.9",
        );
        check(&["10.0.0.0/8"], "11.1.1.1", &["9.9.9.9"], "11.1.1.1");
        check(&["10.0.0.0/8"], "10.1.1.1", &["unknown"], "10.1.1.1");
        check(
            &["10.0.0.0/8"],
            "10.1.1.1",
            &["9.9.9.9, junk, 10.2.2.2"],
            "10.2.2.2",
        );
        check(
            &["10.0.0.0/8"],
            "::ffff:10.1.1.1",
            &["[2001:db8::1]:443"],
            "2001:db8::1",
        );
        check(&["fd00::/8"], "fd00::1", &["9.9.9.9:1234"], "9.9.9.9");
        let many = vec!["10.3.3.3"; 50].join(",");
        check(
            &["10.0.0.0/8"],
            "10.1.1.1",
            &[&format!("6.6.6.6,{many}")],
            "10.3.3.3",
        );
    }

    #[test]
    fn networks_are_read_or_refused() {
        for good in [
            "10.0.0.0/8",
            "::1",
            "fd00::/8",
            "0.0.0.0/0",
            "::/0",
            "1.2.3.4/32",
        ] {
            assert!(Networks::parse(&[good]).is_ok(), "{good}");
        }
        for bad in [
            "",
            "10.0.0.0/33",
            "10.0.0/8",
            "host",
            "::/129",
            "10.0.0.0/-1",
        ] {
            assert_eq!(Networks::parse(&["::1", bad]), Err(1), "{bad}");
        }
        let all = Networks::parse(&["0.0.0.0/0"]).unwrap();
        assert!(all.hold("8.8.8.8".parse().unwrap()) && !all.hold("::1".parse().unwrap()));
    }

    #[test]
    fn a_site_with_ipv6_is_one_source() {
        let site = |text: &str| site(text.parse().unwrap()).to_string();
        assert_eq!(site("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(site("10.1.2.3"), "10.1.2.3");
    }
}
