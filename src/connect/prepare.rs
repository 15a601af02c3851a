//! Facts about a target that are gathered once, before any configuration is measured.

use std::borrow::Cow;

use super::answer::Answer;
use crate::field::fields;

fields! {
    /// The findings of `[connect.prepare]`: the struct `prepare` of a record, if the measurement has one.
    pub struct Prepared, PreparedColumns: Engine;
    "prepare" {
        /// The addresses of the target's name, joined by commas, those of the preferred version of IP
        /// first; the first was measured. NULL if nothing was looked up, or nothing found.
        addresses: Option<String>,
        /// Why the lookup gave no address: `nxdomain`, `no_address`, `unusable_address`, `cname_loop`, or what
        /// kept the resolver from answering: `servfail`, `refused`, `formerr`, `notimp`, `other_rcode`,
        /// `bad_answer`, `timeout`, `unreachable`. NULL if it gave one, or nothing was looked up.
        resolve_error: Option<Cow<'static, str>>,
        /// Whether the probe succeeded. NULL if there was none, or this host could not try. A target that
        /// gave any other answer (`probe_answer`) is up too, and is measured.
        probe_ok: Option<bool>,
        /// How the probe ended, in the words of the column `state`; NULL if there was none.
        probe_state: Option<Cow<'static, str>>,
        /// What went wrong with it; NULL if nothing did.
        probe_error: Option<Cow<'static, str>>,
        /// What the target answered to the probe instead of a success, in the words of the column `answer`; NULL if nothing.
        probe_answer: Option<Answer>,
    }
}
