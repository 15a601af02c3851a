//! What the server lets each role do: the template of agents, with the name of the agent in place of `{{name()}}`.

/// The permissions of a role.
#[derive(Debug)]
pub struct Permissions {
    /// Subjects that it may publish to.
    pub publish: &'static [&'static str],
    /// Subjects that it may subscribe to.
    pub subscribe: &'static [&'static str],
    /// Maximum number of subscriptions.
    pub subscriptions: i64,
    /// Maximum octets of a message.
    pub payload: i64,
}

/// The coordinator: everything in its account.
pub static COORDINATOR: Permissions =
    Permissions { publish: &[">"], subscribe: &[">"], subscriptions: -1, payload: -1 };

/// An agent: its own work, its own commits, its own bucket, and what is for all to read.
///
/// Never `$JS.API.>`: who may create a consumer reads every stream.
pub static AGENT: Permissions = Permissions {
    publish: &[
        "$JS.API.CONSUMER.INFO.PS_WORK.{{name()}}",
        "$JS.API.CONSUMER.MSG.NEXT.PS_WORK.{{name()}}",
        "$JS.ACK.PS_WORK.{{name()}}.>",
        "$JS.ACK.*.*.PS_WORK.{{name()}}.>",
        "$JS.API.DIRECT.GET.KV_ps_ctl.>",
        "$JS.API.DIRECT.GET.PS_COMMIT.ps.commit.*.{{name()}}.*",
        "$KV.ps_agents.{{name()}}",
        "ps.commit.*.{{name()}}.*",
        "$O.psr_{{name()}}.>",
        "$JS.API.STREAM.INFO.OBJ_psr_{{name()}}",
        "$JS.API.DIRECT.GET.OBJ_psr_{{name()}}.>",
        "$JS.API.DIRECT.GET.OBJ_ps_in",
        "$JS.API.DIRECT.GET.OBJ_ps_in.>",
    ],
    subscribe: &["_INBOX_{{name()}}.>", "$KV.ps_ctl.>"],
    subscriptions: 64,
    payload: 1 << 20,
};
