//! `hashmesh admin keys`: create, list, rotate, revoke.

use std::time::{Duration, SystemTime};

use clap::{Args, Subcommand, ValueEnum};
use hashmesh::{
    admin::v1::{CreateKeyRequest, ListKeysRequest, RevokeKeyRequest, RotateKeyRequest, SetKeyLimitsRequest},
    v1::{ApiKey, Scope},
};
use serde_json::{Value, json};

use super::{
    super::{
        documents::{AskArgs, Rows, write_one},
        failure::Failure,
        submission::timestamp,
    },
    answered,
};

/// Keys.
#[derive(Debug, Subcommand)]
pub(super) enum Keys {
    Create(CreateArgs),
    List(ListArgs),
    Rotate(RotateArgs),
    Limit(LimitArgs),
    Revoke(RevokeArgs),
}

/// Create a key. Its text is printed once and can never be shown again.
#[derive(Args, Debug)]
pub(super) struct CreateArgs {
    /// Whose submissions it sees and makes.
    #[arg(long, value_name = "NAME")]
    tenant: String,
    /// What it may be used for.
    #[arg(long = "scope", value_enum, value_name = "SCOPE", value_delimiter = ',', default_value = "submit,read")]
    scopes: Vec<ScopeName>,
    /// For people.
    #[arg(long, value_name = "TEXT", default_value = "")]
    description: String,
    /// Calls a minute that may be made with it, 0: any number; default: what holds for all keys.
    #[arg(long, value_name = "CALLS")]
    calls_per_minute: Option<u32>,
    /// It is refused after this long; default: never.
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    expires_in: Option<Duration>,
    #[command(flatten)]
    common: AskArgs,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ScopeName {
    /// Bring work.
    Submit,
    /// Look.
    Read,
    /// Administer, for every tenant.
    Admin,
}

/// List keys, newest first, without their secrets.
#[derive(Args, Debug)]
pub(super) struct ListArgs {
    /// Those of this tenant only.
    #[arg(long, value_name = "NAME", default_value = "")]
    tenant: String,
    #[command(flatten)]
    common: AskArgs,
}

/// Give a key a new secret. The one before is accepted for a while.
#[derive(Args, Debug)]
pub(super) struct RotateArgs {
    /// The key.
    #[arg(value_name = "ID")]
    id: String,
    /// How long the secret before is accepted; 0s: not at all. At most 30 days.
    #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = humantime::parse_duration)]
    keep_previous: Duration,
    #[command(flatten)]
    common: AskArgs,
}

/// Change how many calls may be made with a key.
#[derive(Args, Debug)]
pub(super) struct LimitArgs {
    /// The key.
    #[arg(value_name = "ID")]
    id: String,
    /// Calls a minute, 0: any number; not given: what holds for all keys.
    #[arg(long, value_name = "CALLS")]
    calls_per_minute: Option<u32>,
    #[command(flatten)]
    common: AskArgs,
}

/// Revoke a key: refused everywhere within 5 s, and for good.
#[derive(Args, Debug)]
pub(super) struct RevokeArgs {
    /// The key.
    #[arg(value_name = "ID")]
    id: String,
    #[command(flatten)]
    common: AskArgs,
}

impl Keys {
    pub(super) async fn run(self) -> Result<u8, Failure> {
        match self {
            Self::Create(args) => args.run().await,
            Self::List(args) => args.run().await,
            Self::Rotate(args) => args.run().await,
            Self::Limit(args) => args.run().await,
            Self::Revoke(args) => args.run().await,
        }
    }
}

impl CreateArgs {
    async fn run(self) -> Result<u8, Failure> {
        let request = CreateKeyRequest {
            tenant: self.tenant,
            scopes: self.scopes.iter().map(|scope| scope.number()).collect(),
            description: self.description,
            calls_per_minute: self.calls_per_minute,
            expire_time: self.expires_in.map(|time| (SystemTime::now() + time).into()),
        };
        let answer = answered(self.common.server.client()?.admin().create_key(request).await)?;
        write_one(self.common.output, &with_text(&answer.key.unwrap_or_default(), &answer.text)).await
    }
}

impl ListArgs {
    async fn run(self) -> Result<u8, Failure> {
        let mut admin = self.common.server.client()?.admin();
        let mut rows = Rows::new(self.common.output, "keys");
        let mut request = ListKeysRequest { tenant: self.tenant, ..ListKeysRequest::default() };
        loop {
            let page = answered(admin.list_keys(request.clone()).await)?;
            for key in &page.keys {
                rows.put(&document(key))?;
            }
            if page.next_page_token.is_empty() {
                return rows.end().await;
            }
            rows.flush().await?;
            request.page_token = page.next_page_token;
        }
    }
}

impl RotateArgs {
    async fn run(self) -> Result<u8, Failure> {
        let keep_previous = prost_types::Duration::try_from(self.keep_previous);
        let keep_previous = keep_previous.map_err(|error| Failure::Usage(format!("--keep-previous: {error}")))?;
        let request = RotateKeyRequest { key_id: self.id, keep_previous: Some(keep_previous) };
        let answer = answered(self.common.server.client()?.admin().rotate_key(request).await)?;
        write_one(self.common.output, &with_text(&answer.key.unwrap_or_default(), &answer.text)).await
    }
}

impl LimitArgs {
    async fn run(self) -> Result<u8, Failure> {
        let request = SetKeyLimitsRequest { key_id: self.id, calls_per_minute: self.calls_per_minute };
        let answer = answered(self.common.server.client()?.admin().set_key_limits(request).await)?;
        write_one(self.common.output, &document(&answer.key.unwrap_or_default())).await
    }
}

impl RevokeArgs {
    async fn run(self) -> Result<u8, Failure> {
        let request = RevokeKeyRequest { key_id: self.id };
        let answer = answered(self.common.server.client()?.admin().revoke_key(request).await)?;
        write_one(self.common.output, &document(&answer.key.unwrap_or_default())).await
    }
}

impl ScopeName {
    fn number(self) -> i32 {
        let scope = match self {
            Self::Submit => Scope::Submit,
            Self::Read => Scope::Read,
            Self::Admin => Scope::Admin,
        };
        scope.into()
    }
}

fn with_text(key: &ApiKey, text: &str) -> Value {
    let mut document = document(key);
    document["text"] = text.into();
    document
}

fn document(key: &ApiKey) -> Value {
    let time = |time: &Option<prost_types::Timestamp>| time.as_ref().and_then(timestamp);
    let scopes = key.scopes().map(Scope::name);
    json!({
        "key_id": key.key_id,
        "tenant": key.tenant,
        "scopes": scopes.collect::<Vec<_>>(),
        "description": key.description,
        "calls_per_minute": key.calls_per_minute,
        "created": time(&key.create_time),
        "expires": time(&key.expire_time),
        "revoked": time(&key.revoke_time),
        "last_used": time(&key.last_use_time),
        "previous_secret_until": time(&key.previous_secret_expire_time),
    })
}
