//! What the server refuses an agent, by the template of the scoped signing key.

use std::time::Duration;

use async_nats::{Client, ConnectOptions, Event, ServerError};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use crate::bench::{Bench, URL};

/// What an agent may not publish or request; each is refused.
const REFUSED: [(&str, &str, &str); 10] = [
    ("another's work", "$JS.API.CONSUMER.MSG.NEXT.PS_WORK.lis-1", ""),
    (
        "a consumer",
        "$JS.API.CONSUMER.CREATE.PS_COMMIT.x",
        r#"{"stream_name":"PS_COMMIT","config":{}}"#,
    ),
    ("deleting a stream", "$JS.API.STREAM.DELETE.PS_COMMIT", ""),
    ("reading a stream by number", "$JS.API.STREAM.MSG.GET.PS_COMMIT", r#"{"seq":1}"#),
    ("the list of streams", "$JS.API.STREAM.NAMES", ""),
    ("purging", "$JS.API.STREAM.PURGE.PS_COMMIT", ""),
    ("a commit of another", "ps.commit.ecn-1.lis-1.0-1", "x"),
    ("the store of another", "$O.psr_lis-1.C.x", "x"),
    ("control", "$KV.ps_ctl.stop", "x"),
    ("work", "ps.work.ecn-1.all.0.1", "x"),
];

/// What it may.
const ALLOWED: [(&str, &str); 4] = [
    ("$KV.ps_agents.fra-1", "x"),
    ("ps.commit.ecn-1.fra-1.0-1", "x"),
    ("$O.psr_fra-1.C.x", "x"),
    ("$JS.API.CONSUMER.INFO.PS_WORK.fra-1", ""),
];

/// How long the server may take to refuse something.
const PATIENCE: Duration = Duration::from_secs(60);

pub fn all(bench: &mut Bench) {
    bench.enroll("fra-1");
    bench.enroll("lis-1");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (refusal, mut refused) = unbounded_channel();
    runtime.block_on(async {
        let client = connect(bench, refusal).await;
        for (subject, octets) in ALLOWED {
            let answer = client.request(subject, octets.into()).await;
            let answer = answer.unwrap_or_else(|why| panic!("{subject}: {why}"));
            let text = String::from_utf8_lossy(&answer.payload).into_owned();
            assert!(!text.contains("\"error\""), "{subject}: {text}");
        }
        for (what, subject, octets) in REFUSED {
            client.publish(subject, octets.into()).await.unwrap();
            client.flush().await.unwrap();
            let refusal = tokio::time::timeout(PATIENCE, refused.recv()).await;
            let refusal = refusal.unwrap_or_else(|_| panic!("{what} is not refused")).unwrap();
            assert!(refusal.contains(&subject.to_lowercase()), "{what}: {refusal}");
        }
        let _ = client.subscribe("ps.commit.>").await.unwrap();
        client.request("$JS.API.CONSUMER.INFO.PS_WORK.fra-1", "".into()).await.unwrap();
    });
}

async fn connect(bench: &Bench, refusal: UnboundedSender<String>) -> Client {
    let (key, token) = bench.login("fra-1");
    let options = ConnectOptions::with_jwt(token.trim().to_owned(), move |nonce| {
        let key = key.clone();
        async move { key.sign_raw(&nonce).map_err(async_nats::AuthError::new) }
    });
    let options = options.custom_inbox_prefix("_INBOX_fra-1").event_callback(move |event| {
        let refusal = refusal.clone();
        async move {
            let Event::ServerError(ServerError::Other(why)) = event else { return };
            let why = why.to_lowercase();
            if why.contains("permissions violation for publish") {
                refusal.send(why).unwrap();
            }
        }
    });
    options.connect(URL).await.unwrap()
}
