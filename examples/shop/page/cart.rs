//! The shop's side of the page: the shelf, the cart, and the forms that change it.

use std::fmt::{self, Display, Formatter};

use super::{Count, Escaped, Grouped};
use crate::goods::{Gift, Line, SHELF, TO_ORDER};

/// How many lines are shown before the others hide behind a word.
const SHOWN: usize = 8;

pub(super) struct Cart<'a>(pub(super) &'a [Line]);

impl Display for Cart<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, r#"<div class="shop">"#)?;
        shelf(f)?;
        self.cart(f)?;
        writeln!(f, "</div>")
    }
}

/// Every good a button: one click, one tin.
fn shelf(f: &mut Formatter<'_>) -> fmt::Result {
    writeln!(
        f,
        r#"<section class="card" aria-labelledby="shelf-title">
<h2 id="shelf-title">On the shelf</h2>
<form class="shelf" method="post" action="/cart">
<input type="hidden" name="qty" value="1">"#
    )?;
    for (name, cents) in SHELF {
        let name = Escaped(name);
        let price = Price(cents.into());
        writeln!(
            f,
            r#"<button class="good" name="name" value="{name}"><span class="hidden">Add </span><span>{name}</span> <span class="price">{price}</span></button>"#
        )?;
    }
    writeln!(
        f,
        r#"</form>
<form class="row" method="post" action="/cart">
<div class="grow"><label for="name">Baked to order, {} each</label>
<input id="name" name="name" required maxlength="80" autocomplete="off" placeholder="Ginger snaps"></div>
<div><label for="qty">Quantity</label>
<input id="qty" name="qty" type="number" required min="1" max="99" value="1"></div>
<button>Add</button>
</form>
</section>"#,
        Price(TO_ORDER.into())
    )
}

impl Cart<'_> {
    fn cart(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self(lines) = *self;
        writeln!(
            f,
            r#"<section class="card" aria-labelledby="cart-title">
<h2 id="cart-title">Your cart <span class="aside">{}</span></h2>"#,
            Count(lines.len(), "line")
        )?;
        if lines.is_empty() {
            writeln!(f, r#"<p class="empty">Nothing yet. Take something from the shelf.</p>"#)?;
        } else {
            self.lines(f)?;
        }
        writeln!(
            f,
            r#"<div class="row bulk">
<form class="row" method="post" action="/cart/fill">
<div><label for="n">Gifts for the crew</label>
<input id="n" name="n" type="number" required min="1" max="1000" value="200"></div>
<button class="quiet">Fill the cart</button>
</form>
<form method="post" action="/cart/clear"><button class="quiet">Clear the cart</button></form>
</div>
</section>"#
        )
    }

    /// The newest line first.
    fn lines(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self(lines) = *self;
        let (older, newer) = lines.split_at(lines.len().saturating_sub(SHOWN));
        list(newer, f)?;
        if !older.is_empty() {
            let older_lines = Count(older.len(), "earlier line");
            writeln!(f, "<details>\n<summary>{older_lines}</summary>")?;
            list(older, f)?;
            writeln!(f, "</details>")?;
        }
        let total = lines.iter().map(Line::total).sum();
        writeln!(f, r#"<p class="total"><span>Total</span> <strong>{}</strong></p>"#, Price(total))
    }
}

fn list(lines: &[Line], f: &mut Formatter<'_>) -> fmt::Result {
    writeln!(f, r#"<ul class="lines">"#)?;
    for line in lines.iter().rev() {
        let name = Escaped(&line.name);
        writeln!(f, r#"<li><span class="name"><bdi>{name}</bdi></span>"#)?;
        if let Some(Gift { to, lid }) = &line.gift {
            let (to, lid) = (Escaped(to), Escaped(lid));
            writeln!(f, r#"<span class="gift">To {to}.<br>On the lid: {lid}.</span>"#)?;
        }
        writeln!(
            f,
            r#"<span class="times">{} × {}</span> <span class="price">{}</span>
<form method="post" action="/cart/remove"><button class="remove" name="line" value="{}"><span class="hidden">Remove {name}</span><span aria-hidden="true">×</span></button></form></li>"#,
            line.qty,
            Price(line.cents.into()),
            Price(line.total()),
            line.id(),
        )?;
    }
    writeln!(f, "</ul>")
}

/// `€1,234.50`, from cents.
struct Price(u64);

impl Display for Price {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let euros = usize::try_from(self.0 / 100).unwrap_or(usize::MAX);
        write!(f, "€{}.{:02}", Grouped(euros), self.0 % 100)
    }
}
