//! What the shop sells, and the lines of a cart.

use hardtack::{NoRandom, Random};
use serde::{Deserialize, Serialize};

/// What stands on the shelf, with prices in cents.
pub(crate) const SHELF: [(&str, u32); 12] = [
    ("Ship's biscuit, plain", 450),
    ("Ship's biscuit, caraway", 490),
    ("Cabin biscuit, sea salt", 520),
    ("Oatcakes, stone-ground", 460),
    ("Rye crispbread", 410),
    ("Seville marmalade", 640),
    ("Molasses, unsulphured", 570),
    ("Lime cordial", 690),
    ("Breakfast tea, loose", 780),
    ("Coffee beans, dark roast", 1_150),
    ("Drinking chocolate", 720),
    ("Dried apricots", 830),
];

/// What anything else costs: it is baked to order.
pub(crate) const TO_ORDER: u32 = 550;

/// One line of a cart: so many tins of a kind.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Line {
    id: [u8; 16],
    pub(crate) name: String,
    pub(crate) qty: u16,
    pub(crate) cents: u32,
    pub(crate) gift: Option<Gift>,
}

/// A line that goes to somebody else, with words on the lid.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Gift {
    pub(crate) to: String,
    pub(crate) lid: String,
}

impl Line {
    /// What a customer asked for by name.
    pub(crate) fn new(name: String, qty: u16, random: &mut impl Random) -> Result<Self, NoRandom> {
        let cents = SHELF.iter().find(|(good, _)| *good == name).map_or(TO_ORDER, |&(_, cents)| cents);
        Ok(Self { id: bytes(random)?, name, qty, cents, gift: None })
    }

    /// Something out of the catalogue for somebody out of the address book.
    pub(crate) fn generate(random: &mut impl Random) -> Result<Self, NoRandom> {
        let (good, cents) = pick(&SHELF, random)?;
        let (size, times) = pick(&SIZES, random)?;
        Ok(Self {
            id: bytes(random)?,
            name: format!("{good}, {size}"),
            qty: pick(&QUANTITIES, random)?,
            cents: cents * times,
            gift: Some(Gift::generate(random)?),
        })
    }

    /// What tells this line from every other one.
    pub(crate) fn id(&self) -> String {
        format!("{:032x}", u128::from_be_bytes(self.id))
    }

    pub(crate) fn total(&self) -> u64 {
        u64::from(self.qty) * u64::from(self.cents)
    }
}

impl Gift {
    fn generate(random: &mut impl Random) -> Result<Self, NoRandom> {
        let (first, last) = (pick(&FIRST, random)?, pick(&LAST, random)?);
        let (street, port) = (pick(&STREETS, random)?, pick(&PORTS, random)?);
        let (door, code) = (below(180, random)? + 1, below(900_000, random)? + 100_000);
        let (day, month) = (below(28, random)? + 1, pick(&MONTHS, random)?);
        let (wish, other) = (pick(&WISHES[..12], random)?, pick(&WISHES[12..], random)?);
        let from = pick(&FIRST, random)?;
        Ok(Self {
            to: format!("{first} {last}, {street} {door}, {code} {port}, by {day} {month}"),
            lid: format!("{wish} and {other}, {from}"),
        })
    }
}

fn pick<T: Copy>(list: &[T], random: &mut impl Random) -> Result<T, NoRandom> {
    Ok(list[below(list.len(), random)?])
}

fn below(limit: usize, random: &mut impl Random) -> Result<usize, NoRandom> {
    Ok(u32::from_be_bytes(bytes(random)?) as usize % limit)
}

fn bytes<const N: usize>(random: &mut impl Random) -> Result<[u8; N], NoRandom> {
    let mut bytes = [0; N];
    random.fill(&mut bytes)?;
    Ok(bytes)
}

const SIZES: [(&str, u32); 4] = [("250\u{a0}g", 1), ("500\u{a0}g", 2), ("1\u{a0}kg", 4), ("2.5\u{a0}kg", 9)];

const QUANTITIES: [u16; 8] = [1, 1, 1, 2, 2, 3, 4, 6];

#[rustfmt::skip]
const FIRST: [&str; 40] = [
    "Ada", "Amara", "Anselm", "Beatriz", "Björn", "Chidi", "Clara", "Dai", "Edda", "Emeka", "Fatima", "Femke",
    "Giulia", "Grace", "Hana", "Hugo", "Ingrid", "Ivo", "Jun", "Kofi", "Leila", "Linus", "Maeve", "Mateo",
    "Nadia", "Niamh", "Noor", "Olek", "Pilar", "Priya", "Quentin", "Rafael", "Saoirse", "Signe", "Tomás",
    "Ulrike", "Viktor", "Wanjiru", "Yusuf", "Zofia",
];

#[rustfmt::skip]
const LAST: [&str; 40] = [
    "Aalto", "Abara", "Bakker", "Brennan", "Castro", "Chen", "Dahl", "Dvořák", "Eriksen", "Esposito", "Farah",
    "Ferreira", "Gallagher", "Greco", "Haddad", "Hopper", "Ibarra", "Ito", "Janssen", "Kaya", "Kowalska",
    "Larsen", "Lovelace", "Mbeki", "Moreau", "Nakamura", "Novák", "O'Shea", "Okafor", "Pereira", "Quist",
    "Rossi", "Sato", "Schäfer", "Tanaka", "Ueda", "Vargas", "Weiss", "Yilmaz", "Zając",
];

#[rustfmt::skip]
const STREETS: [&str; 32] = [
    "Anchor Lane", "Avenida do Mar", "Bell Wharf", "Calle de la Vela", "Capstan Row", "Chandlers Walk",
    "Dockside", "Ferry Road", "Gate of Salt", "Harbour Street", "Havnegata", "Hafenstraße", "Kade",
    "Keel Close", "Lantern Hill", "Lighthouse Road", "Longboat Mews", "Mast Yard", "Molenstraat", "Old Quay",
    "Pilot's Way", "Quai des Brumes", "Ropewalk", "Rua da Barca", "Sailmakers Court", "Skipper Street",
    "Strandvej", "Tide Street", "Via del Porto", "Watch House Lane", "Wharf Street", "Zeedijk",
];

#[rustfmt::skip]
const PORTS: [&str; 32] = [
    "Aberdeen", "Antwerp", "Bergen", "Bilbao", "Bremen", "Bristol", "Cádiz", "Cardiff", "Cork", "Dakar",
    "Dublin", "Esbjerg", "Gdańsk", "Genoa", "Ghent", "Halifax", "Helsinki", "Hobart", "Izmir", "Kotor",
    "Leith", "Lisbon", "Mombasa", "Nantes", "Oslo", "Porto", "Riga", "Rotterdam", "Split", "Tallinn",
    "Trieste", "Tromsø",
];

#[rustfmt::skip]
const WISHES: [&str; 24] = [
    "a calm crossing", "a full hold", "a safe harbour", "a steady hand", "bon voyage", "calm seas",
    "clear nights", "dry socks", "fair winds", "following seas", "good soundings", "happy birthday",
    "light airs", "many thanks", "no weevils", "on to the next", "one for the cook", "plenty of rope",
    "smooth sailing", "sweet water", "ten years more", "warm blankets", "welcome aboard", "well steered",
];

#[rustfmt::skip]
const MONTHS: [&str; 12] = [
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October",
    "November", "December",
];
