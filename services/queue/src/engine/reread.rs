//! A submission whose write failed is thrown out of memory and read again from the tables.

use std::time::Duration;

use hashmesh_runtime::telemetry::Repeated;
use uuid::Uuid;

use super::{Command, run::Engine};
use crate::store::{self, model::Recovered};

static UNREAD: Repeated = Repeated::new();

impl Engine {
    pub(super) fn read_again(&self, id: Uuid) {
        let (database, commands) = (self.database.clone(), self.commands.clone());
        tokio::spawn(async move {
            let mut delay = Duration::from_millis(50);
            loop {
                match store::load_one(&database, id).await {
                    Ok(found) => {
                        let _ = commands.send(Command::Reread { submission: id, recovered: found.map(Box::new) }).await;
                        return;
                    }
                    Err(error) => {
                        if let Some(left_out) = UNREAD.failed() {
                            let error = &error as &dyn std::error::Error;
                            tracing::warn!(error, left_out, "a submission cannot be read; trying again");
                        }
                        tokio::select! {
                            () = commands.closed() => return,
                            () = tokio::time::sleep(delay) => delay = (delay * 2).min(Duration::from_secs(5)),
                        }
                    }
                }
            }
        });
    }

    pub(super) fn reread(&mut self, id: Uuid, recovered: Option<&Recovered>) {
        self.lanes.pardon(id);
        if let Some(recovered) = recovered
            && !self.live.contains_key(&id)
        {
            self.recover(recovered);
        }
    }
}
