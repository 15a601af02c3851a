//! Before the first packet: checks that this host can do what every configuration needs.

use std::os::fd::AsFd as _;

use socket2::Domain;

use super::Engine;
use crate::engine::socket::blank;
use crate::error::Result;
use crate::step::Family;
use crate::step::sockopt::Sockopt;
use crate::step::{self, Flows, Problem};

impl Engine<'_> {
    /// Tries the steps of all configurations and undoes them; returns those that this host rejects.
    ///
    /// # Errors
    /// If something that was changed cannot be restored.
    pub fn rehearse(&self) -> Result<Vec<Problem>> {
        log::info!("trying the steps of every configuration");
        let measured = self.settings.measured();
        let flows: Vec<Flows> = measured.clone().map(|number| self.flows(number)).collect();
        let steps = self.settings.configurations[measured].iter().zip(&flows);
        let steps: Vec<_> = steps.map(|(c, flows)| (c.steps.as_slice(), flows)).collect();
        let set = |configuration: usize, option: &Sockopt| self.refusal(configuration, option);
        step::rehearse(&steps, self.turns, &self.settings.context(), set)
    }

    /// Why an option cannot be set on sockets of a configuration, of whatever family.
    fn refusal(&self, configuration: usize, option: &Sockopt) -> Option<String> {
        let transport = self.ways[configuration].transport;
        let mut refusal = None;
        for (domain, family) in [(Domain::IPV4, Family::V4), (Domain::IPV6, Family::V6)] {
            // A host may lack one of them.
            let Ok(socket) = blank(transport, domain) else { continue };
            match option.set(socket.as_fd(), family) {
                Ok(()) => return None,
                Err(why) => refusal = refusal.or(Some(format!("{}: {why}", option.describe()))),
            }
        }
        refusal
    }
}
