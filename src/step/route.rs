//! Route metrics, as a measurement describes them.
//!
//! The routes stand in a routing table of the configuration's own, reached by its mark: see
//! `table`.

use super::Step;
use super::applied::Flows;

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

    /// The metrics of each configuration that has some: those of its later steps count.
    pub(super) fn of<'a>(configurations: &[(&[Step], &'a Flows)]) -> Vec<(Route, &'a Flows)> {
        let mut all = Vec::new();
        for (steps, flows) in configurations {
            let routes = steps.iter().filter_map(|step| match step {
                Step::Route(route) => Some(route.clone()),
                _ => None,
            });
            all.extend(routes.reduce(Route::then).map(|route| (route, *flows)));
        }
        all
    }

    /// This one, with what a later one says put on.
    fn then(self, later: Route) -> Route {
        let mut features = self.features;
        features.extend(
            later
                .features
                .iter()
                .filter(|name| !features.contains(name))
                .copied()
                .collect::<Vec<_>>(),
        );
        Route {
            features,
            advmss: later.advmss.or(self.advmss),
            initcwnd: later.initcwnd.or(self.initcwnd),
            mtu_lock: if later.mtu.is_some() { later.mtu_lock } else { self.mtu_lock },
            mtu: later.mtu.or(self.mtu),
            hoplimit: later.hoplimit.or(self.hoplimit),
            congctl: later.congctl.or(self.congctl),
            quickack: later.quickack.or(self.quickack),
            fastopen_no_cookie: later.fastopen_no_cookie.or(self.fastopen_no_cookie),
        }
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

    #[test]
    fn of_two_steps_the_later_counts() {
        let first = Route {
            features: vec!["ecn"],
            mtu: Some(1280),
            mtu_lock: true,
            initcwnd: Some(2),
            ..Route::default()
        };
        let later = Route {
            features: vec!["ecn", "tcp_usec_ts"],
            mtu: Some(1400),
            quickack: Some(true),
            ..Route::default()
        };
        let both = Route {
            features: vec!["ecn", "tcp_usec_ts"],
            mtu: Some(1400),
            initcwnd: Some(2),
            quickack: Some(true),
            ..Route::default()
        };
        let steps = [Step::Route(first), Step::Route(later)];
        let flows = Flows { mark: 1 };
        let configurations: [(&[Step], &Flows); 2] = [(&steps, &flows), (&[], &flows)];
        assert_eq!(Route::of(&configurations), [(both, &flows)]);
    }
}
