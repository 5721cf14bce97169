//! What a key means.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ustack::control::Connection;

use super::model::{Mode, Model};

/// What is to be done besides showing the model anew.
#[derive(Debug, PartialEq)]
pub(super) enum Effect {
    /// Nothing.
    None,
    /// The program ends.
    Quit,
    /// A connection is to be reset; it was confirmed.
    Reset(Box<Connection>),
}

/// The line at the bottom: keys with what they do, the most important first.
pub(super) const HELP: [(&str, &str); 9] = [
    ("q", "quit"),
    ("↑↓", "select"),
    ("⏎", "detail"),
    ("<>", "sort"),
    ("r", "reverse"),
    ("/", "filter"),
    ("␣", "pause"),
    ("k", "reset"),
    ("Esc", "back"),
];

/// Follows a key.
pub(super) fn press(model: &mut Model, key: KeyEvent) -> Effect {
    if key.modifiers.contains(KeyModifiers::CONTROL) && key.code == KeyCode::Char('c') {
        return Effect::Quit;
    }
    match model.mode {
        Mode::Confirm => confirm(model, key.code),
        Mode::Filter => {
            edit(model, key.code);
            Effect::None
        }
        Mode::List => list(model, key.code),
    }
}

fn confirm(model: &mut Model, code: KeyCode) -> Effect {
    match code {
        KeyCode::Char('y' | 'Y') => match model.confirmed() {
            Some(connection) => Effect::Reset(Box::new(connection)),
            None => Effect::None,
        },
        KeyCode::Char('n' | 'N' | 'q') | KeyCode::Esc | KeyCode::Enter => {
            model.mode = Mode::List;
            Effect::None
        }
        _ => Effect::None,
    }
}

fn edit(model: &mut Model, code: KeyCode) {
    match code {
        KeyCode::Char(letter) => model.filter.push(letter),
        KeyCode::Backspace => {
            model.filter.pop();
        }
        KeyCode::Esc => {
            model.filter.clear();
            model.mode = Mode::List;
        }
        KeyCode::Enter => model.mode = Mode::List,
        _ => return,
    }
    model.arrange();
}

fn list(model: &mut Model, code: KeyCode) -> Effect {
    match code {
        KeyCode::Char('q') => return Effect::Quit,
        KeyCode::Up => model.move_by(-1),
        KeyCode::Down => model.move_by(1),
        KeyCode::PageUp => model.move_by(-model.page),
        KeyCode::PageDown => model.move_by(model.page),
        KeyCode::Home => model.move_by(isize::MIN),
        KeyCode::End => model.move_by(isize::MAX),
        KeyCode::Enter => model.detail = !model.detail,
        KeyCode::Char('<') | KeyCode::Left => model.sort_by_next(-1),
        KeyCode::Char('>') | KeyCode::Right => model.sort_by_next(1),
        KeyCode::Char('r') => model.reverse(),
        KeyCode::Char('/') => model.mode = Mode::Filter,
        KeyCode::Char(' ') => model.pause(),
        KeyCode::Char('k') => model.ask_for_reset(),
        KeyCode::Esc if model.detail => model.detail = false,
        KeyCode::Esc => {
            model.filter.clear();
            model.arrange();
        }
        _ => {}
    }
    Effect::None
}
