//! Which numbers of a session type's schema are known, and how the older ones become the current one.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::codec::{self, Encoded};
use crate::error::{BuildError, Reason};
use crate::format::Format;

/// The current number, and an upgrade from each older one.
pub(super) struct Schema<T> {
    number: u32,
    upgrades: Vec<(u32, Upgrade<T>)>,
}

type Upgrade<T> = Box<dyn Fn(Format, &Encoded) -> Option<T> + Send + Sync>;

impl<T> Default for Schema<T> {
    fn default() -> Self {
        Self { number: 0, upgrades: Vec::new() }
    }
}

impl<T: Serialize + DeserializeOwned> Schema<T> {
    pub(super) fn number(&self) -> u32 {
        self.number
    }

    pub(super) fn set_number(&mut self, number: u32) {
        self.number = number;
    }

    pub(super) fn upgrade<Old: DeserializeOwned>(
        &mut self,
        number: u32,
        convert: impl Fn(Old) -> T + Send + Sync + 'static,
    ) {
        let upgrade = move |format, encoded: &Encoded| codec::decode(format, encoded).map(&convert);
        self.upgrades.push((number, Box::new(upgrade)));
    }

    pub(super) fn check(&self) -> Result<(), BuildError> {
        for (index, (number, _)) in self.upgrades.iter().enumerate() {
            if *number == self.number {
                return Err(BuildError::new("upgrade_from", format!("{number} is the current schema")));
            }
            if self.upgrades[..index].iter().any(|(other, _)| other == number) {
                return Err(BuildError::new("upgrade_from", format!("schema {number} is upgraded twice")));
            }
        }
        Ok(())
    }

    /// The value of an encoding of this schema number, upgraded if it is an older one.
    pub(super) fn decode(&self, number: u32, format: Format, encoded: &Encoded) -> Result<T, Reason> {
        if number == self.number {
            return codec::decode(format, encoded).ok_or(Reason::Value);
        }
        let (_, upgrade) =
            self.upgrades.iter().find(|(known, _)| *known == number).ok_or(Reason::UnknownSchema)?;
        upgrade(format, encoded).ok_or(Reason::Value)
    }
}
