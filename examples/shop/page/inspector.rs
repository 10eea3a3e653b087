//! The session's side of the page: where it is, what it takes, what is known about it.

use std::fmt::{self, Display, Formatter};

use hardtack::{Parts, Placement, Usage};
use time::format_description::well_known::Rfc3339;
use time::{Duration, OffsetDateTime};

use super::{Count, Escaped, Grouped, Page};

pub(super) struct Inspector<'a>(pub(super) &'a Page<'a>);

impl Display for Inspector<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, r#"<section class="card inspector" id="session" aria-labelledby="session-title">"#)?;
        self.place(f)?;
        self.gauge(f)?;
        self.facts(f)?;
        self.sent(f)?;
        writeln!(f, "</section>")
    }
}

impl Inspector<'_> {
    /// Where the state is, in words.
    fn place(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Page { session, usage, .. } = self.0;
        writeln!(f, r#"<h2 id="session-title">Your session</h2>"#)?;
        match session.placement() {
            None => writeln!(
                f,
                "<p class=\"place\">Not begun</p>\n<p>Nothing was changed yet, so no cookie was set. The server does \
                 not know you.</p>"
            ),
            Some(Placement::Cookies(1)) => writeln!(
                f,
                "<p class=\"place\">In one cookie</p>\n<p>Sealed, in your browser. The server keeps nothing.</p>"
            ),
            Some(Placement::Cookies(count)) => writeln!(
                f,
                "<p class=\"place\">In {count} cookies</p>\n<p>Sealed and cut into {count} pieces, in your browser. \
                 The server keeps nothing.</p>"
            ),
            Some(Placement::Stored) => writeln!(
                f,
                "<p class=\"place\">In the database</p>\n<p>It outgrew its cookies. {} octets are sealed in the \
                 database; your browser keeps the sealed reference to them.</p>",
                Grouped(usage.payload + usage.parts.encryption)
            ),
        }?;
        if session.placement().is_some_and(|placement| placement != usage.placement) {
            writeln!(
                f,
                "<p>It moves at its next change: the budget is another one than when it was sealed.</p>"
            )?;
        }
        match session.refusal() {
            // A shop that is open to everyone keeps the reason in its log, as the library advises.
            Some(refusal) => writeln!(
                f,
                "<p class=\"refused\"><strong>A cookie was refused:</strong> {}.</p>",
                Escaped(&refusal.reason().to_string())
            ),
            None => Ok(()),
        }
    }

    /// What it takes of the budget, as a bar and as figures.
    fn gauge(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Page { session, usage, .. } = self.0;
        let Usage { value, header, budget, .. } = *usage;
        let segments = segments(usage);
        writeln!(
            f,
            r#"<h3>What it takes</h3>
<p class="figure"><strong>{}</strong> of {} octets of response header{}</p>
<svg class="gauge" viewBox="0 0 {budget} 20" preserveAspectRatio="none" role="img" aria-label="{} percent of the budget">"#,
            Grouped(header),
            Grouped(budget),
            if session.is_fresh() { ", once there is something to keep" } else { "" },
            header * 100 / budget.max(1),
        )?;
        let mut x = 0;
        for Segment { class, octets, .. } in &segments {
            writeln!(f, r#"<rect class="{class}" x="{x}" width="{octets}" height="20"/>"#)?;
            x += octets;
        }
        writeln!(f, "</svg>\n<table class=\"legend\">\n<caption class=\"hidden\">The parts of it</caption>")?;
        for Segment { class, name, detail, octets } in &segments {
            writeln!(
                f,
                r#"<tr><th scope="row"><span class="swatch {class}"></span>{name} <span class="detail">{detail}</span></th><td>{}</td></tr>"#,
                Grouped(*octets)
            )?;
        }
        writeln!(f, "</table>")?;
        if value == usage.parts.value {
            return Ok(());
        }
        writeln!(f, r#"<p class="note">The value is {} octets before compression.</p>"#, Grouped(value))
    }

    /// What is known about it.
    fn facts(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Page { session, now, .. } = *self.0;
        let (Some(key), Some(sequence)) = (session.key_id(), session.sequence()) else { return Ok(()) };
        writeln!(f, "<h3>What is known about it</h3>\n<dl>")?;
        writeln!(f, "<div><dt>Key</dt><dd><code>{key}</code></dd></div>")?;
        writeln!(f, "<div><dt>Sequence</dt><dd>{sequence}</dd></div>")?;
        for (name, time) in [
            ("Created", session.created_at()),
            ("Authenticated", session.authenticated_at()),
            ("Last sealed", session.sealed_at()),
            ("Last seen", session.last_seen_at()),
            ("Expires", session.expires_at()),
        ] {
            match time {
                Some(time) => writeln!(f, "<div><dt>{name}</dt><dd>{}</dd></div>", Age { time, now }),
                None => writeln!(f, "<div><dt>{name}</dt><dd>never</dd></div>"),
            }?;
        }
        writeln!(f, "</dl>")
    }

    /// The cookies as they came.
    fn sent(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "<h3>What your browser sent</h3>")?;
        if self.0.sent.is_empty() {
            return writeln!(f, "<p>No cookie of this shop.</p>");
        }
        writeln!(f, r#"<ul class="cookies">"#)?;
        for cookie in &self.0.sent {
            let (name, beginning) = (Escaped(&cookie.name), Escaped(&cookie.beginning));
            let more = if cookie.len > cookie.beginning.len() { "…" } else { "" };
            writeln!(
                f,
                r#"<li><code class="name">{name}</code> <code class="value">{beginning}{more}</code> <span>{} octets</span></li>"#,
                Grouped(cookie.len)
            )?;
        }
        writeln!(f, "</ul>")
    }
}

/// A part of the gauge.
struct Segment {
    class: &'static str,
    name: &'static str,
    detail: &'static str,
    octets: usize,
}

fn segments(usage: &Usage) -> [Segment; 5] {
    let Parts { value, metadata, encryption, encoding, cookies, .. } = usage.parts;
    let value_detail = match usage.placement {
        Placement::Stored => "cart and user are in the database",
        Placement::Cookies(_) if value == usage.value => "cart and user",
        Placement::Cookies(_) => "cart and user, compressed",
    };
    let segment = |class, name, detail, octets| Segment { class, name, detail, octets };
    [
        segment("value", "Value", value_detail, value),
        segment("metadata", "Metadata", "id, times, sequence, subject", metadata),
        segment("encryption", "Encryption", "key id, nonce, tag, MAC", encryption),
        segment("encoding", "Encoding", "base64url, chunk headers", encoding),
        segment("names", "Names and attributes", "of every cookie set", cookies),
    ]
}

/// `3 minutes ago`, `in 29 days`.
struct Age {
    time: OffsetDateTime,
    now: OffsetDateTime,
}

impl Display for Age {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let exact = self.time.format(&Rfc3339).map_err(|_| fmt::Error)?;
        write!(f, r#"<time datetime="{exact}" title="{exact}">"#)?;
        let passed = self.now - self.time;
        match rounded(passed.abs()) {
            None => f.write_str("just now"),
            Some(span) if passed.is_negative() => write!(f, "in {span}"),
            Some(span) => write!(f, "{span} ago"),
        }?;
        f.write_str("</time>")
    }
}

/// The span in its largest unit, to the nearest whole; none if it is no time at all.
fn rounded(span: Duration) -> Option<Count> {
    let seconds = usize::try_from(span.whole_seconds()).unwrap_or_default();
    let units = [(86_400, "day"), (3_600, "hour"), (60, "minute"), (1, "second")];
    let (unit, name) = units.into_iter().find(|(unit, _)| seconds >= *unit)?;
    Some(Count((seconds + unit / 2) / unit, name))
}
