//! What RFC 9293 §3.10.7 does with one segment, as a function: written from its text, with RFC 5961
//! and RFC 1337 where they amend it, and without a look at the stack.
//!
//! PSH, URG and the ECN bits decide nothing here, so four flags are left.

use State::*;

/// The eleven states.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Closed,
    Listen,
    SynSent,
    SynReceived,
    Established,
    FinWait1,
    FinWait2,
    CloseWait,
    Closing,
    LastAck,
    TimeWait,
}

pub(crate) const STATES: [State; 11] = [
    Closed,
    Listen,
    SynSent,
    SynReceived,
    Established,
    FinWait1,
    FinWait2,
    CloseWait,
    Closing,
    LastAck,
    TimeWait,
];

/// Where SEG.SEQ lies: all of the segment left of the window, at RCV.NXT, further in, or right of
/// the window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seq {
    Left,
    Next,
    In,
    Right,
}

pub(crate) const SEQS: [Seq; 4] = [Seq::Left, Seq::Next, Seq::In, Seq::Right];

/// Where SEG.ACK lies: one below SND.UNA, at SND.NXT, or one above it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ack {
    Old,
    Acceptable,
    Future,
}

pub(crate) const ACKS: [Ack; 3] = [Ack::Old, Ack::Acceptable, Ack::Future];

/// One segment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Case {
    pub(crate) state: State,
    pub(crate) seq: Seq,
    pub(crate) ack: Ack,
    /// It has text.
    pub(crate) text: bool,
    pub(crate) syn: bool,
    pub(crate) ack_bit: bool,
    pub(crate) rst: bool,
    pub(crate) fin: bool,
}

/// What leaves because of it, a delayed acknowledgment included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    Nothing,
    /// <SEQ=SND.NXT><ACK=RCV.NXT><CTL=ACK>
    Ack,
    /// <SEQ=ISS><ACK=RCV.NXT><CTL=SYN,ACK>
    SynAck,
    /// <SEQ=SEG.ACK><CTL=RST>
    Reset,
    /// <SEQ=0><ACK=SEG.SEQ+SEG.LEN><CTL=RST,ACK>
    ResetAck,
}

/// What comes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) reply: Reply,
    pub(crate) after: State,
    /// Its text reaches the application.
    pub(crate) delivered: bool,
}

/// RFC 9293 §3.10.7.
pub(crate) fn outcome(case: Case) -> Outcome {
    match case.state {
        Closed => unmoved(case, closed(case)),
        Listen => listen(case),
        SynSent => syn_sent(case),
        _ => others(case),
    }
}

fn unmoved(case: Case, reply: Reply) -> Outcome {
    moved(case.state, reply)
}

fn moved(after: State, reply: Reply) -> Outcome {
    Outcome {
        reply,
        after,
        delivered: false,
    }
}

/// §3.10.7.1
fn closed(case: Case) -> Reply {
    if case.rst {
        Reply::Nothing
    } else if case.ack_bit {
        Reply::Reset
    } else {
        Reply::ResetAck
    }
}

/// §3.10.7.2: RST first, then ACK, then SYN, and nothing else.
fn listen(case: Case) -> Outcome {
    if case.rst {
        unmoved(case, Reply::Nothing)
    } else if case.ack_bit {
        unmoved(case, Reply::Reset)
    } else if case.syn {
        moved(SynReceived, Reply::SynAck)
    } else {
        unmoved(case, Reply::Nothing)
    }
}

/// §3.10.7.3
fn syn_sent(case: Case) -> Outcome {
    let acceptable = case.ack_bit && case.ack == Ack::Acceptable;
    if case.ack_bit && !acceptable {
        let reply = if case.rst {
            Reply::Nothing
        } else {
            Reply::Reset
        };
        return unmoved(case, reply);
    }
    if case.rst {
        return if acceptable {
            moved(Closed, Reply::Nothing)
        } else {
            unmoved(case, Reply::Nothing)
        };
    }
    if !case.syn {
        return unmoved(case, Reply::Nothing);
    }
    if !acceptable {
        return moved(SynReceived, Reply::SynAck);
    }
    // "Other controls or text": on with the sixth step, in ESTABLISHED.
    Outcome {
        reply: Reply::Ack,
        after: if case.fin { CloseWait } else { Established },
        delivered: case.text,
    }
}

/// §3.10.7.4
fn others(case: Case) -> Outcome {
    // First: SEG.SEQ. A RST left or right of the window is dropped silently (RFC 5961 §3.2).
    if matches!(case.seq, Seq::Left | Seq::Right) {
        let reply = if case.rst { Reply::Nothing } else { Reply::Ack };
        return unmoved(case, reply);
    }
    // Second: RST, only at RCV.NXT; elsewhere it is challenged (RFC 5961 §3.2).
    if case.rst {
        return match case.state {
            TimeWait => unmoved(case, Reply::Nothing), // RFC 1337, F1
            _ if case.seq != Seq::Next => unmoved(case, Reply::Ack),
            SynReceived => moved(Listen, Reply::Nothing),
            _ => moved(Closed, Reply::Nothing),
        };
    }
    // Fourth: SYN. A passive open is over; a synchronized connection challenges (RFC 5961 §4.2).
    if case.syn {
        return match case.state {
            SynReceived => moved(Listen, Reply::Nothing),
            _ => unmoved(case, Reply::Ack),
        };
    }
    // Fifth: ACK.
    if !case.ack_bit {
        return unmoved(case, Reply::Nothing);
    }
    if case.state == SynReceived && case.ack != Ack::Acceptable {
        return unmoved(case, Reply::Reset);
    }
    if case.ack == Ack::Future {
        return unmoved(case, Reply::Ack);
    }
    let acked = case.ack == Ack::Acceptable;
    let state = match case.state {
        SynReceived => Established,
        FinWait1 if acked => FinWait2,
        Closing if acked => TimeWait,
        LastAck if acked => return moved(Closed, Reply::Nothing),
        state => state,
    };
    text_and_fin(case, state)
}

/// The seventh and eighth step, in the state that the ACK led to.
fn text_and_fin(case: Case, state: State) -> Outcome {
    let receives = matches!(state, Established | FinWait1 | FinWait2);
    let in_order = case.seq == Seq::Next;
    let delivered = case.text && receives && in_order;
    if !case.fin {
        let reply = if case.text && receives {
            Reply::Ack
        } else {
            Reply::Nothing
        };
        return Outcome {
            reply,
            after: state,
            delivered,
        };
    }
    // A FIN above a gap waits for it; one in order is acknowledged in whatever state. The peer's
    // FIN came before in the states that no longer receive: there a second one changes nothing.
    let after = match state {
        _ if !in_order => state,
        Established => CloseWait,
        FinWait1 => Closing,
        FinWait2 => TimeWait,
        state => state,
    };
    Outcome {
        reply: Reply::Ack,
        after,
        delivered,
    }
}
