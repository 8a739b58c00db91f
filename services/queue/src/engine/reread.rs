//! A submission whose write failed is thrown out of memory and read again from the tables.

use uuid::Uuid;

use super::run::Engine;
use crate::store::model::Recovered;

impl Engine {
    pub(super) fn read_again(&self, id: Uuid) {
        self.tables.read_again(id);
    }

    pub(super) fn reread(&mut self, id: Uuid, recovered: Option<&Recovered>) {
        self.lanes.pardon(id);
        if let Some(recovered) = recovered
            && self.works_on(id)
            && !self.live.contains_key(&id)
        {
            self.recover(recovered);
        }
    }
}
