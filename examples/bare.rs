//! No framework: a request's `Cookie` header goes in, the response's `Set-Cookie` fields come out.
use hardtack::{Key, KeyRing, OsRandom, Outgoing, SessionCookie};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let ring = KeyRing::new([Key::generate(&mut OsRandom)?])?;
    let carts = SessionCookie::<Vec<String>>::builder("__Host-cart", ring).build()?;
    let mut cart = carts.open(["theme=dark; lang=en"]).into_session();
    cart.push("ship's biscuit".into());
    if let Outgoing::Cookies(cookies) = carts.seal(&cart)? {
        for cookie in cookies.iter() {
            println!("Set-Cookie: {cookie}");
        }
    }
    Ok(())
}
