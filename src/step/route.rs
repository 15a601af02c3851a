//! Route metrics, as a measurement describes them.
//!
//! The routes stand in a routing table of the configuration's own, reached by its mark.

/// Features of a route, as ip-route(8) names them, with their meaning.
pub static FEATURES: &[(&str, &str)] = &[
    ("ecn", "ask for ECN in every SYN, whatever net.ipv4.tcp_ecn says"),
    ("tcp_usec_ts", "TCP timestamps in microseconds (RFC 7323)"),
];

/// The metrics of a route; what is not given stays as the main table has it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Route {
    /// Names out of [`FEATURES`].
    pub features: Vec<&'static str>,
    /// MSS to announce, in bytes.
    pub advmss: Option<u32>,
    /// Initial congestion window, in segments.
    pub initcwnd: Option<u32>,
    /// MTU, in bytes.
    pub mtu: Option<u32>,
    /// Whether path MTU discovery is switched off and the MTU kept.
    pub mtu_lock: bool,
    /// TTL or hop limit.
    pub hoplimit: Option<u32>,
    /// Congestion control, `bbr`.
    pub congctl: Option<String>,
    /// Whether ACKs are sent at once.
    pub quickack: Option<bool>,
    /// Whether TCP Fast Open works without a cookie (RFC 7413, 4.1.2).
    pub fastopen_no_cookie: Option<bool>,
}

impl Route {
    /// Whether it says nothing.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// What it does, in plain words.
    pub fn describe(&self) -> String {
        let number = |name: &str, value: Option<u32>| value.map(|value| format!("{name} {value}"));
        let switch = |name: &str, value: Option<bool>| {
            value.map(|value| format!("{name} {}", if value { "on" } else { "off" }))
        };
        let mtu = self.mtu.map(|mtu| {
            format!("mtu {mtu}{}", if self.mtu_lock { " without path MTU discovery" } else { "" })
        });
        let features =
            (!self.features.is_empty()).then(|| format!("features {}", self.features.join(", ")));
        let parts: Vec<String> = [
            features,
            number("advmss", self.advmss),
            number("initcwnd", self.initcwnd),
            mtu,
            number("hoplimit", self.hoplimit),
            self.congctl.as_ref().map(|name| format!("congctl {name}")),
            switch("quickack", self.quickack),
            switch("fastopen_no_cookie", self.fastopen_no_cookie),
        ]
        .into_iter()
        .flatten()
        .collect();
        format!("route this configuration's packets with {}", parts.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_is_told() {
        let route = Route {
            features: vec!["ecn"],
            advmss: Some(1400),
            initcwnd: Some(2),
            mtu: Some(1280),
            mtu_lock: true,
            hoplimit: Some(9),
            congctl: Some("bbr".into()),
            quickack: Some(true),
            fastopen_no_cookie: Some(false),
        };
        assert_eq!(
            route.describe(),
            "route this configuration's packets with features ecn; advmss 1400; initcwnd 2; \
             mtu 1280 without path MTU discovery; hoplimit 9; congctl bbr; quickack on; fastopen_no_cookie off"
        );
        assert!(!route.is_empty() && Route::default().is_empty());
    }
}
