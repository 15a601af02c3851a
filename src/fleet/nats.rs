//! NATS JetStream as the transport: the only file that knows tokio.
//!
//! A thread drives a runtime of one thread; calls come from any other and wait for their answer.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use async_nats::header::{NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, NATS_MESSAGE_ID};
use async_nats::jetstream::consumer::{AckPolicy, PullConsumer, pull};
use async_nats::jetstream::context::{Context, ContextBuilder, PublishErrorKind};
use async_nats::jetstream::object_store;
use async_nats::jetstream::stream::{Config, DirectGetErrorKind, DiscardPolicy, Stream};
use async_nats::jetstream::{AckKind, Message};
use async_nats::{Client, ConnectOptions, HeaderMap};
use futures_util::StreamExt as _;
use tokio::runtime::{Builder, Handle};

use super::key::Key;
use super::message::UnitId;
use super::transport::{AgentSide, HubSide, Lease, Settle};
use crate::error::{Doing as _, Error, Result};

/// How long an answer may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How long a lease lasts without being renewed.
const ACK_WAIT: Duration = Duration::from_secs(90);
/// The heartbeats of a pull: without them it is known to be lost.
const IDLE: Duration = Duration::from_secs(3);
/// The first delay of a reconnection, doubled each time.
const RECONNECT: Duration = Duration::from_secs(1);
/// The longest one.
const LONGEST_RECONNECT: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 3600);
/// Octets of the bucket of an agent. They are reserved on the hub's disk.
const BUCKET: i64 = 256 << 20;
/// Maximum octets of a message about a unit.
const SMALL: i32 = 8 << 10;

const WORK: &str = "PS_WORK";
const COMMIT: &str = "PS_COMMIT";
const CONTROL: &str = "KV_ps_ctl";
const AGENTS: &str = "KV_ps_agents";
const INPUT: &str = "ps_in";

/// The name of an agent's bucket.
fn bucket(agent: &str) -> String {
    format!("psr_{agent}")
}

/// The streams of a hub, made once.
fn streams() -> [Config; 4] {
    let limits = Config { allow_direct: true, ..Config::default() };
    let subjects = |subject: &str| vec![subject.to_owned()];
    [
        Config {
            name: WORK.into(),
            subjects: subjects("ps.work.>"),
            discard: DiscardPolicy::New,
            max_age: 30 * DAY,
            max_message_size: SMALL,
            duplicate_window: Duration::from_secs(3600),
            deny_delete: true,
            ..limits.clone()
        },
        // The server itself refuses a second commit of a unit.
        Config {
            name: COMMIT.into(),
            subjects: subjects("ps.commit.>"),
            max_messages_per_subject: 1,
            discard: DiscardPolicy::New,
            discard_new_per_subject: true,
            deny_delete: true,
            deny_purge: true,
            max_message_size: SMALL,
            ..limits.clone()
        },
        Config {
            name: CONTROL.into(),
            subjects: subjects("$KV.ps_ctl.>"),
            max_messages_per_subject: 4,
            deny_delete: true,
            ..limits.clone()
        },
        Config {
            name: AGENTS.into(),
            subjects: subjects("$KV.ps_agents.>"),
            max_messages_per_subject: 1,
            max_age: Duration::from_secs(600),
            ..limits
        },
    ]
}

/// Who connects, and where to.
#[derive(Clone, Copy)]
pub struct Login<'a> {
    /// The address: `nats://HOST:PORT` or `tls://HOST:PORT`.
    pub url: &'a str,
    /// The certificate that has signed that of the hub; those of the system if `None`.
    pub ca: Option<&'a Path>,
    /// The token.
    pub token: &'a str,
    /// The key that the token names.
    pub key: &'a Key,
    /// The name of the agent, or `coordinator`.
    pub name: &'a str,
}

/// A connection to a hub.
pub struct Nats {
    name: String,
    runtime: Handle,
    client: Client,
    context: Context,
    heard: Arc<AtomicBool>,
    leases: Mutex<Vec<(u64, Message)>>,
    next: AtomicU64,
    // Dropped first to end the thread.
    end: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Nats {
    fn drop(&mut self) {
        // Messages that are still to be written, such as acknowledgments.
        let _ = self.wait(self.client.flush());
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn failed(doing: &str, why: impl std::fmt::Display) -> Error {
    Error::failed(format!("{doing} at the hub"), why)
}

impl Nats {
    /// Connects, and waits until the server has accepted the token.
    ///
    /// # Errors
    /// If the server does not answer, or does not accept it.
    pub fn connect(login: Login<'_>) -> Result<Self> {
        let (started, runtime) = mpsc::channel();
        let (end, ended) = tokio::sync::oneshot::channel::<()>();
        let thread = thread::Builder::new().name("hub".into()).spawn(move || {
            let built = Builder::new_current_thread().enable_all().build();
            let built = built.map(|built| (built.handle().clone(), built));
            match built {
                Ok((handle, built)) => {
                    let _ = started.send(Ok(handle));
                    let _ = built.block_on(ended);
                }
                Err(why) => drop(started.send(Err(why))),
            }
        });
        let thread = thread.doing(|| "start the thread hub")?;
        let runtime = runtime.recv().map_err(|why| failed("start", why))?;
        let runtime = runtime.doing(|| "start the thread hub")?;
        let client = runtime.block_on(connect(login));
        let client = client.map_err(|why| failed(&format!("connect to {}", login.url), why))?;
        let context = {
            // It starts a task.
            let _inside = runtime.enter();
            ContextBuilder::new().timeout(TIMEOUT).ack_timeout(TIMEOUT).build(client.clone())
        };
        Ok(Self {
            name: login.name.to_owned(),
            runtime,
            client,
            context,
            heard: Arc::default(),
            leases: Mutex::default(),
            next: AtomicU64::new(1),
            end: Some(end),
            thread: Some(thread),
        })
    }

    /// The same for an agent, which hears what the coordinator sets.
    ///
    /// # Errors
    /// As [`Nats::connect`].
    pub fn connect_agent(login: Login<'_>) -> Result<Self> {
        let nats = Self::connect(login)?;
        let subscribed = nats.wait(nats.client.subscribe("$KV.ps_ctl.>"));
        let mut puts = subscribed.map_err(|why| failed("listen", why))?;
        let heard = nats.heard.clone();
        nats.runtime.spawn(async move {
            while puts.next().await.is_some() {
                heard.store(true, Relaxed);
            }
        });
        // The answer of the server shows that it has the subscription: whoever reads the values after this misses none.
        AgentSide::control(&nats, super::transport::keys::STOP)?;
        Ok(nats)
    }

    /// Makes the streams. May be repeated.
    ///
    /// # Errors
    /// If the server does not answer.
    pub fn make(&self) -> Result<()> {
        for config in streams() {
            let name = config.name.clone();
            self.wait(self.context.create_or_update_stream(config))
                .map_err(|why| failed(&format!("make the stream {name}"), why))?;
        }
        let input =
            object_store::Config { bucket: INPUT.into(), max_age: 60 * DAY, ..Default::default() };
        self.wait(self.context.create_object_store(input))
            .map(drop)
            .map_err(|why| failed("make a bucket", why))
    }

    /// The version of the server.
    pub fn version(&self) -> String {
        self.client.server_info().version
    }

    fn wait<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    fn stream(&self, name: &str) -> Result<Stream<()>> {
        let stream = self.wait(self.context.get_stream_no_info(name));
        stream.map_err(|why| failed("read", why))
    }

    /// The last message of a subject.
    fn last(&self, stream: &str, subject: String) -> Result<Option<Vec<u8>>> {
        let stream = self.stream(stream)?;
        match self.wait(stream.direct_get_last_for_subject(subject)) {
            Ok(message) => Ok(Some(message.payload.to_vec())),
            Err(why) if why.kind() == DirectGetErrorKind::NotFound => Ok(None),
            Err(why) => Err(failed("read", why)),
        }
    }

    fn publish(&self, subject: String, octets: Vec<u8>) -> Result<()> {
        self.wait(async { self.context.publish(subject, octets.into()).await?.await })
            .map(drop)
            .map_err(|why| failed("publish", why))
    }

    /// An object, read by direct gets: an agent may not create a consumer, as `Object::get` does.
    fn object(&self, bucket: &str, name: &str) -> Result<Option<Vec<u8>>> {
        let stream = format!("OBJ_{bucket}");
        let encoded = data_encoding::BASE64URL.encode(name.as_bytes());
        let Some(about) = self.last(&stream, format!("$O.{bucket}.M.{encoded}"))? else {
            return Ok(None);
        };
        let about: object_store::ObjectInfo =
            serde_json::from_slice(&about).map_err(|why| failed("read an object", why))?;
        if about.deleted {
            return Ok(None);
        }
        let (stream, subject) = (self.stream(&stream)?, format!("$O.{bucket}.C.{}", about.nuid));
        let mut octets = Vec::with_capacity(about.size);
        let mut from = 1;
        for _ in 0..about.chunks {
            let chunk = stream.direct_get_next_for_subject(subject.clone(), Some(from));
            let chunk = self.wait(chunk).map_err(|why| failed("read an object", why))?;
            from = chunk.sequence + 1;
            octets.extend_from_slice(&chunk.payload);
        }
        Ok(Some(octets))
    }

    /// Puts an object unless it is there. Its name is made of its digest, so what is there is the same.
    fn put(&self, bucket: &str, name: &str, octets: &[u8]) -> Result<()> {
        let of = |why: &dyn std::fmt::Display| failed(&format!("put {name}"), why);
        let store = self.wait(self.context.get_object_store(bucket)).map_err(|why| of(&why))?;
        if let Ok(about) = self.wait(store.info(name))
            && !about.deleted
            && about.size == octets.len()
        {
            return Ok(());
        }
        self.wait(store.put(name, &mut &octets[..])).map(drop).map_err(|why| of(&why))
    }

    fn take_lease(&self, token: u64, keep: bool) -> Option<Message> {
        let mut leases = self.leases.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let at = leases.iter().position(|(known, _)| *known == token)?;
        match keep {
            true => leases.get(at).map(|(_, message)| message.clone()),
            false => Some(leases.swap_remove(at).1),
        }
    }
}

async fn connect(login: Login<'_>) -> Result<Client, async_nats::Error> {
    let seed = login.key.clone();
    let options = ConnectOptions::with_jwt(login.token.trim().to_owned(), move |nonce| {
        let key = seed.clone();
        async move { key.sign_raw(&nonce).map_err(async_nats::AuthError::new) }
    });
    let spread = jitter(login.name);
    let mut options = options
        .name(login.name)
        .custom_inbox_prefix(format!("_INBOX_{}", login.name))
        .connection_timeout(TIMEOUT)
        .request_timeout(Some(TIMEOUT))
        .ping_interval(Duration::from_secs(20))
        .reconnect_delay_callback(move |attempt| delay(attempt) + spread)
        .event_callback(|event| async move { log::info!("hub: {event}") });
    if let Some(ca) = login.ca {
        options = options.add_root_certificates(ca.to_owned());
    }
    Ok(options.connect(login.url).await?)
}

/// The delay before an attempt to reconnect.
fn delay(attempt: usize) -> Duration {
    let doubled = u32::try_from(attempt.saturating_sub(1)).unwrap_or(u32::MAX).min(6);
    (RECONNECT * 2u32.pow(doubled)).min(LONGEST_RECONNECT)
}

/// A part of a second that differs between agents, so that they do not all return at once.
fn jitter(name: &str) -> Duration {
    let sum: u64 =
        name.bytes().fold(7, |sum, octet| sum.wrapping_mul(31).wrapping_add(octet.into()));
    Duration::from_millis(sum % 1000)
}

impl AgentSide for Nats {
    fn next(&self, wait: Duration) -> Result<Option<Lease>> {
        let consumer = self.context.get_consumer_from_stream(&self.name, WORK);
        let consumer: PullConsumer =
            self.wait(consumer).map_err(|why| failed("find the work", why))?;
        let message = self.wait(async {
            let batch = consumer.batch().max_messages(1).expires(wait).heartbeat(IDLE).messages();
            batch
                .await
                .map_err(|why| failed("take work", why))?
                .next()
                .await
                .transpose()
                .map_err(|why| failed("take work", why))
        })?;
        let Some(message) = message else { return Ok(None) };
        let token = self.next.fetch_add(1, Relaxed);
        let lease = Lease { work: message.payload.to_vec(), token };
        self.leases.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push((token, message));
        Ok(Some(lease))
    }

    fn settle(&self, lease: &Lease, how: Settle) -> Result<()> {
        let Some(message) = self.take_lease(lease.token, how == Settle::Progress) else {
            return Ok(());
        };
        let settled = self.wait(async {
            match how {
                Settle::Progress => message.ack_with(AckKind::Progress).await,
                Settle::Later(after) => message.ack_with(AckKind::Nak(Some(after))).await,
                Settle::Done => message.double_ack().await,
            }
        });
        settled.map_err(|why| failed("settle a unit", why))
    }

    fn input(&self, sha256: &str) -> Result<Vec<u8>> {
        let found = self.object(INPUT, sha256)?;
        found.ok_or_else(|| failed("read an input", format!("there is no object {sha256}")))
    }

    fn committed(&self, unit: &UnitId) -> Result<Option<Vec<u8>>> {
        self.last(COMMIT, subject(unit))
    }

    fn offer(&self, name: &str, octets: Vec<u8>) -> Result<()> {
        self.put(&bucket(&self.name), name, &octets)
    }

    fn commit(&self, unit: &UnitId, octets: Vec<u8>) -> Result<bool> {
        let mut headers = HeaderMap::new();
        headers.insert(NATS_MESSAGE_ID, unit.to_string().as_str());
        // Distinguishes a unit that is committed from a stream that is full.
        headers.insert(NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, "0");
        let sent = self.wait(async {
            self.context.publish_with_headers(subject(unit), headers, octets.into()).await?.await
        });
        match sent {
            Ok(ack) => Ok(!ack.duplicate),
            Err(why) if why.kind() == PublishErrorKind::WrongLastSequence => Ok(false),
            Err(why) => Err(failed("commit", why)),
        }
    }

    fn control(&self, key: &str) -> Result<Option<Vec<u8>>> {
        self.last(CONTROL, format!("$KV.ps_ctl.{key}"))
    }

    fn heard(&self) -> bool {
        self.heard.swap(false, Relaxed)
    }

    fn report(&self, octets: Vec<u8>) -> Result<()> {
        self.publish(format!("$KV.ps_agents.{}", self.name), octets)
    }
}

fn subject(unit: &UnitId) -> String {
    format!("ps.commit.{}.{}.{}", unit.campaign, unit.agent, unit.short())
}

impl HubSide for Nats {
    fn add_agent(&self, name: &str) -> Result<()> {
        let config = pull::Config {
            durable_name: Some(name.to_owned()),
            filter_subjects: vec!["ps.work.*.all.>".into(), format!("ps.work.*.one.{name}.>")],
            ack_policy: AckPolicy::Explicit,
            ack_wait: ACK_WAIT,
            // Units that wait for their campaign, or for the lease of a killed agent to end, must not block others.
            max_ack_pending: 1000,
            max_deliver: -1,
            max_waiting: 2,
            ..Default::default()
        };
        self.wait(self.context.create_consumer_on_stream(config, WORK))
            .map_err(|why| failed("add an agent", why))?;
        let bucket = object_store::Config {
            bucket: bucket(name),
            max_bytes: BUCKET,
            max_age: 14 * DAY,
            ..Default::default()
        };
        self.wait(self.context.create_object_store(bucket))
            .map(drop)
            .map_err(|why| failed("add an agent", why))
    }

    fn put_input(&self, sha256: &str, octets: Vec<u8>) -> Result<()> {
        self.put(INPUT, sha256, &octets)
    }

    fn publish(&self, campaign: &str, short: &str, octets: Vec<u8>) -> Result<()> {
        let mut headers = HeaderMap::new();
        headers.insert(NATS_MESSAGE_ID, format!("{campaign}/{short}").as_str());
        let (round, number) = short.split_once('-').unwrap_or(("0", short));
        let subject = format!("ps.work.{campaign}.all.{round}.{number}");
        let sent = self.wait(async {
            self.context.publish_with_headers(subject, headers, octets.into()).await?.await
        });
        sent.map(drop).map_err(|why| failed("publish a unit", why))
    }

    fn commits(&self, campaign: &str) -> Result<Vec<(UnitId, Vec<u8>)>> {
        let config = pull::Config {
            filter_subject: format!("ps.commit.{campaign}.>"),
            ack_policy: AckPolicy::None,
            ..Default::default()
        };
        self.wait(async {
            let of = |why: &dyn std::fmt::Display| failed("read the commits", why);
            let consumer = self.context.create_consumer_on_stream(config, COMMIT).await;
            let consumer: PullConsumer = consumer.map_err(|why| of(&why))?;
            let mut left = consumer.cached_info().num_pending;
            let mut found = Vec::new();
            while left > 0 {
                let batch = consumer.batch().max_messages(500).expires(TIMEOUT).messages().await;
                let mut batch = batch.map_err(|why| of(&why))?;
                let before = left;
                while let Some(message) = batch.next().await {
                    let message = message.map_err(|why| of(&why))?;
                    left = left.saturating_sub(1);
                    let words: Vec<&str> = message.subject.split('.').collect();
                    let [_, _, campaign, agent, short] = words[..] else { continue };
                    let unit = UnitId::of(campaign, agent, short);
                    found.extend(unit.map(|unit| (unit, message.payload.to_vec())));
                    if left == 0 {
                        break;
                    }
                }
                if left == before {
                    return Err(of(&"the server sends no more of them"));
                }
            }
            Ok(found)
        })
    }

    fn result(&self, agent: &str, name: &str) -> Result<Option<Vec<u8>>> {
        self.object(&bucket(agent), name)
    }

    fn remove_result(&self, agent: &str, name: &str) -> Result<()> {
        let of = |why: &dyn std::fmt::Display| failed("remove a result", why);
        let store =
            self.wait(self.context.get_object_store(bucket(agent))).map_err(|why| of(&why))?;
        self.wait(store.delete(name)).map_err(|why| of(&why))
    }

    fn set_control(&self, key: &str, octets: Vec<u8>) -> Result<()> {
        Nats::publish(self, format!("$KV.ps_ctl.{key}"), octets)
    }

    fn control(&self, key: &str) -> Result<Option<Vec<u8>>> {
        AgentSide::control(self, key)
    }

    fn heartbeat(&self, agent: &str) -> Result<Option<Vec<u8>>> {
        self.last(AGENTS, format!("$KV.ps_agents.{agent}"))
    }
}
