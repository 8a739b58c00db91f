//! The first key of a mesh, which no key could ask for: written by whoever may write to the database.

use hashmesh::{
    keys::KeyText,
    v1::{ApiKey, Scope},
};
use hashmesh_database::Database;

use crate::store;

/// Who did it, in the audit trail.
const ACTOR: &str = "local";

/// Why there is no first key.
#[derive(Debug, thiserror::Error)]
#[error("the key could not be stored")]
pub struct FirstKeyError(#[source] store::StoreError);

/// True if a key with the scope `admin` is accepted now.
///
/// # Errors
/// If the database cannot say.
pub async fn has_admin_key(database: &Database) -> Result<bool, FirstKeyError> {
    store::has_admin_key(database).await.map_err(FirstKeyError)
}

/// Creates a key with every scope.
///
/// # Errors
/// If it cannot be stored.
pub async fn create_admin_key(database: &Database, tenant: &str, description: &str) -> Result<KeyText, FirstKeyError> {
    let text = KeyText::mint();
    let key = ApiKey {
        key_id: text.id().to_owned(),
        tenant: tenant.to_owned(),
        scopes: vec![Scope::Submit.into(), Scope::Read.into(), Scope::Admin.into()],
        description: description.to_owned(),
        ..ApiKey::default()
    };
    store::create_api_key(database, ACTOR, &key, &text.hash()).await.map_err(FirstKeyError)?;
    Ok(text)
}
