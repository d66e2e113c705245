//! The list that `CAPA` gives (RFC 2449).

use super::authorization::Offer;

/// Writes the whole multi-line response. What is on `offer` may be tried.
///
/// RFC 2449 section 6 wants USER and SASL to be the same before and after the login; UTF8 (RFC 6856 section 2.1) carries
/// USER, because names and passwords are UTF-8 here.
pub(super) fn write_capabilities(out: &mut Vec<u8>, offer: Offer) {
    out.extend_from_slice(b"+OK Capability list follows\r\n");
    if offer.stls {
        out.extend_from_slice(b"STLS\r\n");
    }
    if offer.passwords {
        if offer.mechanisms.passwords {
            out.extend_from_slice(b"USER\r\n");
        }
        out.extend_from_slice(b"SASL");
        for name in offer.mechanisms.names() {
            out.push(b' ');
            out.extend_from_slice(name.as_bytes());
        }
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(
        b"TOP\r\nUIDL\r\nPIPELINING\r\nRESP-CODES\r\nAUTH-RESP-CODE\r\nEXPIRE NEVER\r\nUTF8 USER\r\n\
          IMPLEMENTATION PigeonAir\r\n.\r\n",
    );
}
