//! Lists of addresses and networks, as the configuration has them: whom to believe, whom to exempt.

use std::net::IpAddr;

use ipnet::IpNet;

/// Networks, of which an address may be in one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Networks(Box<[IpNet]>);

impl Networks {
    /// Reads a list that the configuration has checked.
    pub(crate) fn of(texts: &[String]) -> Self {
        Self(texts.iter().filter_map(|text| parse(text)).collect())
    }

    /// Whether an address is in one of them.
    pub(crate) fn contains(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(&address))
    }
}

/// A network such as `10.0.0.0/8`, or one address.
pub(crate) fn parse(text: &str) -> Option<IpNet> {
    text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_in_its_networks() {
        let networks = Networks::of(&["10.0.0.0/8", "2001:db8::/32", "192.0.2.1"].map(str::to_owned));
        for (address, inside) in [("10.1.2.3", true), ("11.1.2.3", false), ("2001:db8::9", true), ("192.0.2.1", true), ("192.0.2.2", false)]
        {
            assert_eq!(networks.contains(address.parse().expect("an address")), inside, "{address}");
        }
        assert!(["10.0.0.0/33", "localhost", "", "10.0.0.0/8 "].iter().all(|text| parse(text).is_none()));
    }
}
