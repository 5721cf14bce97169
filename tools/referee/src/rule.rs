//! What nobody on the wire may do.

use std::fmt;

macro_rules! rules {
    ($($(#[doc = $doc:literal])+ $rule:ident, $name:literal, $source:literal;)+) => {
        /// A rule that a packet can break.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Rule {
            $($(#[doc = $doc])+ $rule,)+
        }

        impl Rule {
            /// Every rule.
            pub const ALL: &[Self] = &[$(Self::$rule),+];

            /// Its name, in words joined by hyphens.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$rule => $name,)+
                }
            }

            /// Where it stands written.
            pub const fn source(self) -> &'static str {
                match self {
                    $(Self::$rule => $source,)+
                }
            }
        }
    };
}

rules! {
    /// Headers and their lengths agree with the packet.
    Malformed, "malformed", "RFC 791 §3.1, RFC 8200 §3, RFC 9293 §3.1";
    /// The checksums of IPv4, TCP, UDP and ICMP are right.
    Checksum, "checksum", "RFC 9293 §3.1 MUST-2, RFC 1071";
    /// Options have their lengths and end with the header.
    OptionMalformed, "option-malformed", "RFC 9293 §3.1 MUST-7";
    /// Reserved bits are zero.
    ReservedBits, "reserved-bits", "RFC 9293 §3.1";
    /// SYN goes with neither FIN nor RST; every segment after the SYN has ACK set.
    Flags, "flags", "RFC 9293 §3.1, §3.10.7.4";
    /// MSS, window scale and SACK-permitted belong to a SYN.
    SynOption, "syn-option", "RFC 9293 §3.2, RFC 7323 §2.2, RFC 2018 §2";
    /// A window scale is at most 14.
    WindowScaleTooLarge, "window-scale-too-large", "RFC 7323 §2.3";
    /// Window scale, timestamps and SACK blocks are used when the peer's SYN offered them.
    OptionNotAgreed, "option-not-agreed", "RFC 7323 §2.2, §3.2, RFC 2018 §4";
    /// Once agreed on, timestamps are in every segment but a RST.
    TimestampMissing, "timestamp-missing", "RFC 7323 §3.2";
    /// The clock behind TSval never goes back.
    TimestampBack, "timestamp-back", "RFC 7323 §5.4";
    /// TSecr is a TSval that arrived; without ACK it is zero.
    EchoUnseen, "echo-unseen", "RFC 7323 §3.2, §4.3";
    /// TSecr never goes back.
    EchoBack, "echo-back", "RFC 7323 §4.3";
    /// Nothing is acknowledged that did not arrive.
    AckUnseen, "ack-unseen", "RFC 9293 §3.4";
    /// The acknowledgment number never goes back.
    AckBack, "ack-back", "RFC 9293 §3.4";
    /// In-order bytes are acknowledged within half a second.
    AckDelayed, "ack-delayed", "RFC 9293 §3.8.6.3 MUST-40";
    /// What a window once allowed stays allowed, up to the rounding of its scale.
    WindowShrunk, "window-shrunk", "RFC 9293 §3.8.6 SHLD-14, RFC 7323 §2.4";
    /// A SACK block holds what arrived, above the acknowledgment or as a first D-SACK block.
    SackFalse, "sack-false", "RFC 2018 §3, RFC 2883 §4";
    /// Bytes stay within the peer's window, but for a probe of one byte.
    OutsideWindow, "outside-window", "RFC 9293 §3.8.6, §3.8.6.1";
    /// Payload and options fit into the peer's MSS.
    MssExceeded, "mss-exceeded", "RFC 9293 §3.7.1 MUST-16";
    /// A retransmission holds the bytes of the first transmission.
    OtherBytes, "other-bytes", "RFC 9293 §3.4, §3.8.1";
    /// New bytes follow those before them.
    Gap, "gap", "RFC 9293 §3.4";
    /// What the peer has acknowledged is not sent again.
    AcknowledgedAgain, "acknowledged-again", "RFC 9293 §3.4";
    /// A connection begins with SYN, and bytes wait for the peer's.
    BeforeHandshake, "before-handshake", "RFC 9293 §3.5, RFC 7413 §4";
    /// A connection has one initial sequence number per end.
    OtherIsn, "other-isn", "RFC 9293 §3.4.1, §3.5";
    /// FIN stays where it was said.
    FinMoved, "fin-moved", "RFC 9293 §3.6";
    /// Nothing follows FIN.
    AfterFin, "after-fin", "RFC 9293 §3.6";
    /// A RST has the number that its receiver expects.
    ResetMisplaced, "reset-misplaced", "RFC 9293 §3.5.2, §3.10.7.1";
    /// An end that reset, or was reset, says nothing more.
    AfterReset, "after-reset", "RFC 9293 §3.5.3";
    /// The retransmission timer doubles from one retransmission to the next.
    BackOff, "back-off", "RFC 6298 §5.5";
    /// Nothing is retransmitted sooner than an answer could have come.
    RetransmittedEarly, "retransmitted-early", "RFC 6298 §2, RFC 8985 §7.2";
    /// ECN is spoken when both ends agreed to.
    EcnNotAgreed, "ecn-not-agreed", "RFC 3168 §6.1";
    /// After a Packet Too Big, packets fit the path.
    PathMtuExceeded, "path-mtu-exceeded", "RFC 1191 §3, RFC 8201 §4";
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
