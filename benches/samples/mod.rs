//! The three values that every figure uses, as an application would have typed them: `tests/samples`.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// A session's value, of which a request changes a little.
pub(crate) trait Sample: Serialize + DeserializeOwned + Default + Clone + PartialEq + 'static {
    const NAME: &str;
    const JSON: &str;

    /// The part that every request touches.
    fn login_mut(&mut self) -> &mut Login;

    fn load() -> Self {
        serde_json::from_str(Self::JSON).expect("the type mirrors the sample")
    }
}

#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Login {
    user_id: String,
    email: String,
    roles: Vec<String>,
    csrf: String,
    locale: String,
    created: u64,
    pub(crate) seen: u64,
    flash: Vec<(String, String)>,
}

#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Cart {
    login: Login,
    items: Vec<Item>,
    coupon: String,
    ship: String,
}

#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
struct Item {
    sku: String,
    name: String,
    qty: u32,
    price_cents: u64,
    currency: String,
    url: String,
}

#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Oidc {
    login: Login,
    access: String,
    id: String,
    refresh: String,
    scope: Vec<String>,
    exp: u64,
}

impl Sample for Login {
    const NAME: &str = "login";
    const JSON: &str = include_str!("../../tests/samples/login.json");

    fn login_mut(&mut self) -> &mut Login {
        self
    }
}

impl Sample for Cart {
    const NAME: &str = "cart-20";
    const JSON: &str = include_str!("../../tests/samples/cart-20.json");

    fn login_mut(&mut self) -> &mut Login {
        &mut self.login
    }
}

impl Sample for Oidc {
    const NAME: &str = "oidc";
    const JSON: &str = include_str!("../../tests/samples/oidc.json");

    fn login_mut(&mut self) -> &mut Login {
        &mut self.login
    }
}
