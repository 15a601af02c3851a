//! Attempts whose packets are made by hand: begun, answered and finished.

use std::net::SocketAddr;
use std::sync::Arc;

use super::{Begun, EAR_V4, EAR_V6, Engine, Wave};
use crate::connect::Peer;
use crate::connect::forge::{Forge, Packet, Protocol};
use crate::engine::guarded::Guarded;
use crate::engine::raw::Raw;
use crate::engine::scheduler::Job;
use crate::engine::socket::{Unsent, from_some_port};

impl Engine<'_> {
    /// A channel for a packet made by hand, and its machine.
    pub(super) fn forge(
        &mut self,
        packet: Arc<Packet>,
        peer: Peer<'_>,
        address: SocketAddr,
        job: Job,
        slot: usize,
        wanted: Option<u16>,
    ) -> Result<Begun, Unsent> {
        let tcp = packet.protocol == Protocol::Tcp;
        let (configuration, mut deal) = (job.configuration, self.deal.take());
        let mut raw = std::mem::replace(&mut self.raw, Raw::new(self.settings.pool.bounds()));
        let opening = self.opening(address, configuration, &[]);
        let opened = from_some_port(
            |tried| deal.as_mut()?.draw((job.target, configuration), wanted, tried),
            |port| {
                self.owners.claim(self.ways[configuration].protocol, port, address);
                let way = raw.open(&opening, configuration, port, tcp)?;
                self.owners.bind(port, way.source.ip());
                Ok(way)
            },
        );
        (self.raw, self.deal) = (raw, deal);
        let (way, port) = opened?;
        if let Some(ear) = way.ear {
            let token = if address.is_ipv6() { EAR_V6 } else { EAR_V4 };
            self.watch(ear, token).map_err(|why| (why, Some(port)))?;
        }
        if tcp {
            self.raw.wait(port, address, slot);
        }
        let machine = Guarded::new(|| Box::new(Forge::new(packet, peer, way.source)));
        Ok(Begun { opened: (way.channel, 0), port, machine, out: Vec::new() })
    }

    /// Receives the answers to TCP segments made by hand.
    pub(super) fn hear(&mut self, v6: bool, buffer: &mut [u8], wave: &mut Wave<'_>) {
        while let Some((slot, segment)) = self.raw.hear(v6, buffer) {
            if let Some(connection) = self.connections.of_slot(slot)
                && let Some(ending) = connection.hear(&buffer[segment])
            {
                self.close(slot, ending, wave);
            }
        }
    }
}
