//! What is found out about a target once, before it is asked under any configuration.

use std::borrow::Cow;

use super::Answer;
use crate::field::fields;

fields! {
    /// What `[connect.prepare]` has found: the struct `prepare` of a record, if the measurement has one.
    pub struct Prepared, PreparedColumns: Engine;
    "prepare" {
        /// The addresses that the target's name has, joined by commas, those of the preferred version of IP
        /// first; the first was asked. NULL if nothing was looked up, or nothing found.
        addresses: Option<String>,
        /// Why the look-up gave no address: `nxdomain`, `no_address`, `unusable_address`, `cname_loop`, or what
        /// kept the resolver from answering: `servfail`, `refused`, `formerr`, `notimp`, `other_rcode`,
        /// `bad_answer`, `timeout`, `unreachable`. NULL if it gave one, or nothing was looked up.
        resolve_error: Option<Cow<'static, str>>,
        /// Whether the probe was answered as it asked. NULL if there was none, or this host could not try. A target that
        /// gave any other answer (`probe_answer`) is up too, and is asked.
        probe_ok: Option<bool>,
        /// How the probe ended, in the words of the column `state`; NULL if there was none.
        probe_state: Option<Cow<'static, str>>,
        /// What went wrong with it; NULL if nothing did.
        probe_error: Option<Cow<'static, str>>,
        /// What the target answered to it, if not what it asked for, in the words of the column `answer`; NULL if nothing.
        probe_answer: Option<Answer>,
    }
}
