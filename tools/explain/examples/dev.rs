//! dev
use explain::{Explainer, text};
use referee::capture::Reader;
fn main() {
    for path in std::env::args().skip(1) {
        let mut reader = Reader::open(path.as_ref()).unwrap();
        let mut explainer = Explainer::default();
        while let Ok(Some(packet)) = reader.next_packet() { explainer.on_packet(&packet); }
        explainer.finish();
        println!("== {path} {:?}", explainer.totals());
        while let Some(report) = explainer.poll_report() { print!("{}", text::describe(&report)); }
    }
}
