//! Form fields that are what they should be, or a 400 that says what they should have been.

use axum::extract::rejection::FormRejection;
use axum::extract::{Form, FromRequest, Request};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// A form whose fields all parsed.
pub(crate) struct Valid<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Valid<T> {
    type Rejection = BadInput;

    async fn from_request(request: Request, state: &S) -> Result<Self, BadInput> {
        let form = Form::from_request(request, state).await;
        form.map(|Form(fields)| Self(fields)).map_err(|rejection: FormRejection| {
            let text = rejection.body_text();
            BadInput::new(text.strip_prefix("Failed to deserialize form body: ").unwrap_or(&text))
        })
    }
}

/// What was sent cannot be followed. Nothing was changed.
pub(crate) struct BadInput(String);

impl BadInput {
    pub(crate) fn new(why: impl Into<String>) -> Self {
        Self(why.into())
    }
}

impl IntoResponse for BadInput {
    fn into_response(self) -> Response {
        let text = format!("That did not work: {}.\nNothing was changed. The shop is at /\n", self.0);
        (StatusCode::BAD_REQUEST, text).into_response()
    }
}

/// Text of 1 to `MOST` characters, without control characters, and without space around it.
#[derive(Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Text<const MOST: usize>(String);

impl<const MOST: usize> TryFrom<String> for Text<MOST> {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let text = text.trim();
        if !(1..=MOST).contains(&text.chars().count()) || text.contains(char::is_control) {
            return Err(format!("1 to {MOST} characters are wanted here, none of them a control character"));
        }
        Ok(Self(text.to_owned()))
    }
}

impl<const MOST: usize> From<Text<MOST>> for String {
    fn from(text: Text<MOST>) -> Self {
        text.0
    }
}

/// A whole number from 1 to `MOST`.
#[derive(Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Number<const MOST: u16>(u16);

impl<const MOST: u16> Number<MOST> {
    pub(crate) fn get(&self) -> u16 {
        self.0
    }
}

impl<const MOST: u16> TryFrom<String> for Number<MOST> {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.trim().parse() {
            Ok(number) if (1..=MOST).contains(&number) => Ok(Self(number)),
            _ => Err(format!("a whole number from 1 to {MOST} is wanted here")),
        }
    }
}
