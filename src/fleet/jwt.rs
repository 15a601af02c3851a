//! The tokens of a NATS server in operator mode: operator, account, user (JWT with Ed25519, claims of version 2).
//!
//! The account names a signing key with a scope. A user that this key signed has the permissions of the scope, whatever
//! else its token says, so the key can make agents and nothing else.

use data_encoding::{BASE32_NOPAD, BASE64URL_NOPAD};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::key::Key;
use super::permissions::{AGENT, COORDINATOR, Permissions};
use crate::error::Result;

/// The role of agents, as the account calls their scope.
const ROLE: &str = "agent";

/// Everything unlimited.
const NO_LIMIT: i64 = -1;

/// Signs claims; `now` is in seconds since 1970.
fn sign(issuer: &Key, subject: &str, name: &str, nats: Value, now: u64) -> Result<String> {
    let mut claims = json!({
        "iat": now, "iss": issuer.public(), "name": name, "sub": subject, "nats": nats,
    });
    let id = BASE32_NOPAD.encode(&Sha256::digest(claims.to_string().as_bytes()));
    claims["jti"] = id.into();
    let header = json!({ "typ": "JWT", "alg": "ed25519-nkey" });
    let [header, claims] =
        [header, claims].map(|part| BASE64URL_NOPAD.encode(part.to_string().as_bytes()));
    let signed = format!("{header}.{claims}");
    let signature = issuer.sign(signed.as_bytes())?;
    Ok(format!("{signed}.{signature}"))
}

/// The operator's token.
///
/// # Errors
/// If the key cannot sign; so do all below.
pub fn operator(operator: &Key, system: &Key, now: u64) -> Result<String> {
    let nats = json!({ "type": "operator", "version": 2, "system_account": system.public() });
    sign(operator, &operator.public(), "pathspider", nats, now)
}

fn limits() -> Value {
    json!({
        "subs": NO_LIMIT, "data": NO_LIMIT, "payload": NO_LIMIT, "imports": NO_LIMIT, "exports": NO_LIMIT, "wildcards": true,
        "conn": NO_LIMIT, "leaf": NO_LIMIT,
    })
}

/// The token of the server's own account, which has no store.
pub fn system(operator: &Key, system: &Key, now: u64) -> Result<String> {
    let nats = json!({ "type": "account", "version": 2, "limits": limits() });
    sign(operator, &system.public(), "SYS", nats, now)
}

/// The token of the account that holds the fleet; `signing` makes agents.
pub fn account(operator: &Key, account: &Key, signing: &Key, now: u64) -> Result<String> {
    let mut limits = limits();
    for key in ["mem_storage", "disk_storage", "streams", "consumer"] {
        limits[key] = NO_LIMIT.into();
    }
    let scope = json!({
        "kind": "user_scope", "key": signing.public(), "role": ROLE, "template": user_limits(&AGENT),
    });
    let nats =
        json!({ "type": "account", "version": 2, "limits": limits, "signing_keys": [scope] });
    sign(operator, &account.public(), "FLEET", nats, now)
}

fn user_limits(permissions: &Permissions) -> Value {
    json!({
        "pub": { "allow": permissions.publish }, "sub": { "allow": permissions.subscribe },
        "subs": permissions.subscriptions, "data": NO_LIMIT, "payload": permissions.payload,
    })
}

/// The token of the coordinator, which the account itself signs.
pub fn coordinator(account: &Key, user: &Key, now: u64) -> Result<String> {
    let mut nats = user_limits(&COORDINATOR);
    nats["type"] = "user".into();
    nats["version"] = 2.into();
    sign(account, &user.public(), "coordinator", nats, now)
}

/// The token of an agent: a name and its key. Its permissions are in the scope of the signing key.
pub fn agent(signing: &Key, account: &str, agent: (&str, &Key), now: u64) -> Result<String> {
    let nats = json!({ "type": "user", "version": 2, "issuer_account": account });
    sign(signing, &agent.1.public(), agent.0, nats, now)
}

/// A claim of a token: its `name` or its `sub`. The signature is not checked: that is the server's part.
pub fn claim(token: &str, key: &str) -> Option<String> {
    let claims = BASE64URL_NOPAD.decode(token.trim().split('.').nth(1)?.as_bytes()).ok()?;
    let claims: Value = serde_json::from_slice(&claims).ok()?;
    Some(claims.get(key)?.as_str()?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::key::Kind;

    #[test]
    fn an_agents_token_has_a_name_and_no_permissions_of_its_own() {
        let (signing, account, user) =
            (Key::new(Kind::Account), Key::new(Kind::Account), Key::new(Kind::User));
        let token = agent(&signing, &account.public(), ("fra-1", &user), 7).unwrap();
        assert_eq!(claim(&token, "name").as_deref(), Some("fra-1"));
        assert_eq!(claim(&token, "sub"), Some(user.public()));
        let claims = BASE64URL_NOPAD.decode(token.split('.').nth(1).unwrap().as_bytes()).unwrap();
        let claims: Value = serde_json::from_slice(&claims).unwrap();
        assert!(
            claims["nats"].get("pub").is_none() && claims["nats"].get("subs").is_none(),
            "{claims}"
        );
        let (signed, signature) = token.rsplit_once('.').unwrap();
        assert!(signing.has_signed(signed.as_bytes(), signature));
        assert_eq!(claim("x", "name"), None);
    }
}
