//! When a response came, and how fast its content.

use std::time::Duration;

/// The times and octets of one response. Times are those since the attempt began.
#[derive(Debug, Default)]
pub(super) struct Meter {
    /// The time now.
    now: Duration,
    /// When the request was handed to the socket.
    requested: Duration,
    /// When the first octet of the response was read.
    first: Option<Duration>,
    /// When the first octets of the content were read, and how many.
    begun: Option<(Duration, u64)>,
    /// When the last octets of the content were read.
    last: Duration,
    /// Octets of content.
    octets: u64,
}

impl Meter {
    /// It is this time now.
    pub(super) fn set_now(&mut self, now: Duration) {
        self.now = now;
    }

    /// The request is handed to the socket.
    pub(super) fn handle_request(&mut self) {
        self.requested = self.now;
    }

    /// Octets of the response were read.
    pub(super) fn handle_response(&mut self) {
        self.first.get_or_insert(self.now);
    }

    /// This many octets of content were read.
    pub(super) fn handle_content(&mut self, octets: u64) {
        if octets == 0 {
            return;
        }
        self.octets += octets;
        self.last = self.now;
        let (at, first) = self.begun.get_or_insert((self.now, 0));
        // What is read at one time may come in parts.
        if *at == self.now {
            *first += octets;
        }
    }

    /// Octets of content.
    pub(super) fn octets(&self) -> u64 {
        self.octets
    }

    /// Nanoseconds from the request to the first octet of the response.
    pub(super) fn to_first_octet(&self) -> Option<u64> {
        let time = self.first?.checked_sub(self.requested)?;
        u64::try_from(time.as_nanos()).ok()
    }

    /// Octets of content per second: those after the first that were read, by the time between.
    pub(super) fn goodput(&self) -> Option<u64> {
        let (at, first) = self.begun?;
        let nanoseconds = self.last.checked_sub(at)?.as_nanos();
        let octets = u128::from(self.octets - first) * 1_000_000_000;
        octets.checked_div(nanoseconds).and_then(|octets| u64::try_from(octets).ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_octets_begin_the_time_of_the_others() {
        let mut meter = Meter::default();
        let mut at = |ms, response: bool, octets| {
            meter.set_now(Duration::from_millis(ms));
            if response {
                meter.handle_response();
            } else {
                meter.handle_request();
            }
            meter.handle_content(octets);
            (meter.to_first_octet(), meter.goodput(), meter.octets())
        };
        assert_eq!(at(20, false, 0), (None, None, 0));
        assert_eq!(at(50, true, 0), (Some(30_000_000), None, 0));
        assert_eq!(at(60, true, 1000), (Some(30_000_000), None, 1000));
        assert_eq!(at(60, true, 500), (Some(30_000_000), None, 1500));
        assert_eq!(at(160, true, 2000), (Some(30_000_000), Some(20_000), 3500));
        assert_eq!(at(260, true, 2000), (Some(30_000_000), Some(20_000), 5500));
        assert_eq!(at(900, true, 0), (Some(30_000_000), Some(20_000), 5500));
    }
}
