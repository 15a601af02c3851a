//! The step `route`: metrics of a configuration's routes.
//!
//! The routes are in a routing table of the configuration's own, selected by its mark: see `table`.

use std::sync::Arc;
use std::time::Duration;

use netlink_packet_route::route::RouteMetric;
use serde_json::Value;

use crate::error::Result;
use crate::step::facts::{Facts, Fault};
use crate::step::failure::Failure;
use crate::step::kind::{
    self, Change, Need, Privilege, Recovered, Revert, RevertDef, Scope, StepDef, StepKind, Together,
};
use crate::step::process::CommandOutput;
use crate::step::table::{Plan, Tables, Wanted};
use crate::step::tool;

/// The row of the registry.
pub(super) static DEF: StepDef = StepDef {
    name: "route",
    scope: Scope::Packets,
    doc: "route this configuration's packets with these metrics, by a routing table of its own",
    undo: "the rule and the routing table are removed; the main table is never changed",
    example: r#"{ route = { features = ["ecn"], advmss = 1400 } }"#,
    privilege: Privilege::NetAdmin,
    group: Some("route"),
    revert: Some(&REVERT),
};

static REVERT: RevertDef = RevertDef {
    kind: "route",
    tag: "Route",
    read: |data| Ok(Arc::new(serde_json::from_value::<Tables>(data)?)),
};

/// Features of a route, as ip-route(8) names them, with their meaning.
pub static FEATURES: &[(&str, &str)] = &[
    ("ecn", "ask for ECN in every SYN, whatever net.ipv4.tcp_ecn says"),
    ("tcp_usec_ts", "TCP timestamps in microseconds (RFC 7323)"),
];

/// The features of a route as bits, in the order of [`FEATURES`] (`RTAX_FEATURE_*`).
const BITS: [u32; 2] = [1, 1 << 4];

/// The metrics of a route; those that are not given stay as in the main table.
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
    /// Whether it sets nothing.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// This one, with the metrics of a later one in place of its own.
    fn then(self, later: Route) -> Route {
        let mut features = self.features;
        for name in later.features {
            if !features.contains(&name) {
                features.push(name);
            }
        }
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

    /// The metrics as the kernel takes them.
    fn metrics(&self) -> Vec<RouteMetric> {
        let switch = |on: Option<bool>| on.map(u32::from);
        let features = FEATURES.iter().zip(BITS).fold(0, |bits, ((name, _), bit)| {
            if self.features.contains(name) { bits | bit } else { bits }
        });
        let lock = self.mtu.filter(|_| self.mtu_lock).map(|_| 1 << MTU);
        [
            self.advmss.map(RouteMetric::Advmss),
            self.initcwnd.map(RouteMetric::InitCwnd),
            self.mtu.map(RouteMetric::Mtu),
            self.hoplimit.map(RouteMetric::Hoplimit),
            self.congctl.clone().map(RouteMetric::CcAlgo),
            switch(self.quickack).map(RouteMetric::QuickAck),
            switch(self.fastopen_no_cookie).map(RouteMetric::FastopenNoCookie),
            (features != 0).then_some(RouteMetric::Features(features)),
            lock.map(RouteMetric::Lock),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    /// The metrics in words.
    fn words(&self) -> String {
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
        parts.join("; ")
    }
}

/// The number of the metric `mtu` (`RTAX_MTU`): the place of its bit among the locks.
const MTU: u32 = 2;

impl StepKind for Route {
    fn def(&self) -> &'static StepDef {
        &DEF
    }

    fn describe(&self) -> String {
        format!("route this configuration's packets with {}", self.words())
    }

    fn describe_undo(&self) -> String {
        "remove the configuration's rule and routing table".into()
    }

    fn needs(&self) -> Vec<Need> {
        vec![Need::net_admin("to make rules and routes, and to set the mark of packets")]
    }

    fn needs_mark(&self) -> bool {
        true
    }

    fn inspect(&self, facts: &dyn Facts) -> Option<Fault> {
        Fault::of_congestion(self.congctl.as_deref()?, facts)
    }

    fn change(&self, together: &Together<'_>) -> Option<Box<dyn Change>> {
        let device = together.interface.map(str::to_owned);
        Some(Box::new(Pending { wanted: wanted(together), device, plan: None }))
    }
}

/// The metrics of each configuration that has route steps: later steps take precedence.
fn wanted(together: &Together<'_>) -> Vec<Wanted> {
    let mut all = Vec::new();
    for (number, flows) in together.flows.iter().enumerate() {
        let own = together.of::<Route>().filter(|((configuration, _), _)| *configuration == number);
        let route = own.map(|(_, route)| route.clone()).reduce(Route::then);
        all.extend(route.map(|route| Wanted {
            mark: flows.mark,
            metrics: route.metrics(),
            words: route.words(),
        }));
    }
    all
}

/// The tables that are about to be made; how is known once they are planned.
struct Pending {
    wanted: Vec<Wanted>,
    device: Option<String>,
    plan: Option<Plan>,
}

impl Change for Pending {
    fn prepare(&mut self) -> Result<Option<Arc<dyn Revert>>> {
        self.plan = Some(Plan::new(&self.wanted, self.device.as_deref())?);
        Ok(Some(Arc::new(Tables::of(&self.wanted))))
    }

    fn make(&mut self) -> Result<Option<CommandOutput>, Failure> {
        let made = self.plan.as_ref().map_or(Ok(()), |plan| plan.make(&self.wanted));
        // What was made is removed, so that the journal has nothing to undo.
        made.map(|()| None).map_err(|why| match Tables::of(&self.wanted).remove() {
            Ok(()) => Failure::Unchanged(why),
            Err(more) => {
                log::error!("the host is not as it was found: {more}");
                Failure::Changed(why)
            }
        })
    }

    fn is_whole(&self, seen: &str) -> bool {
        self.plan.as_ref().is_some_and(|plan| plan.is_complete(seen))
    }

    /// If the main table changed while it was copied, the tables are made again.
    fn must_retry(&mut self) -> Result<bool> {
        let again = Some(Plan::new(&self.wanted, self.device.as_deref())?);
        let differs = again != self.plan;
        self.plan = again;
        Ok(differs)
    }
}

impl Revert for Tables {
    fn def(&self) -> &'static RevertDef {
        &REVERT
    }

    fn data(&self) -> serde_json::Result<Value> {
        serde_json::to_value(self)
    }

    fn run(&self) -> Result<()> {
        self.remove()
    }

    fn verify(&self) -> Result<Option<String>> {
        self.look().map(Some)
    }

    fn altered(&self, made: Option<&str>) -> Result<Option<String>> {
        kind::altered(self, made, || self.names())
    }

    fn recover(&self, _: bool) -> Result<Recovered> {
        self.remove()?;
        Ok(Recovered::Done(format!("{} are removed", self.names())))
    }

    fn describe(&self) -> String {
        format!("remove {}", self.names())
    }

    /// Earlier versions ran ip(8), and the killed run may be one of theirs.
    fn patience(&self) -> Duration {
        tool::PATIENCE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_is_described_and_set() {
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
        let metrics = [
            RouteMetric::Advmss(1400),
            RouteMetric::InitCwnd(2),
            RouteMetric::Mtu(1280),
            RouteMetric::Hoplimit(9),
            RouteMetric::CcAlgo("bbr".into()),
            RouteMetric::QuickAck(1),
            RouteMetric::FastopenNoCookie(0),
            RouteMetric::Features(1),
            RouteMetric::Lock(4),
        ];
        assert_eq!(route.metrics(), metrics);
        let features = FEATURES.iter().map(|(name, _)| *name).collect();
        let route = Route { features, ..Route::default() };
        assert_eq!(route.metrics(), [RouteMetric::Features(17)]);
    }

    #[test]
    fn later_steps_take_precedence() {
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
        assert_eq!(first.then(later), both);
    }
}
