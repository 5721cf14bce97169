//! Colours and type, for paper and for the dark.

use std::fmt::Write as _;

/// Colours that a line can have; further ones begin anew.
pub(crate) const COLOURS: usize = 7;

/// Of lines and bars, after Okabe and Ito. Their yellow is left out and their orange darker: light
/// paper swallows both.
const LIGHT: [&str; COLOURS] = [
    "#0072b2", "#d55e00", "#009e73", "#b8569a", "#1f2328", "#b87700", "#3a9fd8",
];
const DARK: [&str; COLOURS] = [
    "#4da6e0", "#ff8a3d", "#2cc49b", "#e59bcb", "#e6edf3", "#f0b840", "#8fd3ff",
];

struct Face {
    paper: &'static str,
    ink: &'static str,
    muted: &'static str,
    grid: &'static str,
    axis: &'static str,
    colours: [&'static str; COLOURS],
}

const PAPER: Face = Face {
    paper: "#ffffff",
    ink: "#1f2328",
    muted: "#57606a",
    grid: "#e6e9ed",
    axis: "#8c959f",
    colours: LIGHT,
};

const NIGHT: Face = Face {
    paper: "#12161c",
    ink: "#e6edf3",
    muted: "#9aa4af",
    grid: "#262d36",
    axis: "#6b7581",
    colours: DARK,
};

/// The style of figures; `standalone` ones carry it along, a page has it once.
pub(crate) fn figures() -> String {
    let mut css = String::from(
        ".fig text{font-family:system-ui,'Segoe UI',Roboto,Helvetica,Arial,sans-serif;font-size:12px}\n\
         .fig .title{font-size:15px;font-weight:600}.fig .y{font-weight:600}\n\
         .fig polyline{fill:none;stroke-width:1.6;stroke-linejoin:round}\n\
         .fig path{fill:none;stroke-width:2}\n\
         .fig .grid{stroke-width:1}.fig .axis{stroke-width:1}\n\
         .fig .dashed{stroke-dasharray:6 4}.fig .mark{stroke-width:1;stroke-dasharray:2 3}\n\
         .fig .event{stroke-width:1.4}.fig .bar{stroke-width:1}\n",
    );
    css.push_str(&face(&PAPER));
    let _ = writeln!(
        css,
        "@media screen and (prefers-color-scheme:dark){{\n{}}}",
        face(&NIGHT)
    );
    css
}

fn face(face: &Face) -> String {
    let Face {
        paper,
        ink,
        muted,
        grid,
        axis,
        colours,
    } = face;
    let mut css = format!(
        ".fig .paper{{fill:{paper}}}.fig text{{fill:{ink}}}.fig .muted{{fill:{muted}}}\n\
         .fig .grid{{stroke:{grid}}}.fig .axis{{stroke:{axis}}}.fig .mark{{stroke:{muted}}}\n\
         .fig .bar{{stroke:{paper}}}\n"
    );
    for (index, colour) in colours.iter().enumerate() {
        let _ = writeln!(
            css,
            ".fig .l{index}{{stroke:{colour}}}.fig .f{index}{{fill:{colour}}}"
        );
    }
    css
}

/// The style of a page around its figures.
pub(crate) fn page() -> String {
    let vars = |face: &Face| {
        format!(
            "--paper:{};--ink:{};--muted:{};--grid:{};--accent:{}",
            face.paper, face.ink, face.muted, face.grid, face.colours[0]
        )
    };
    format!(
        ":root{{color-scheme:light dark;{}}}\n\
         @media screen and (prefers-color-scheme:dark){{:root{{{}}}}}\n{PAGE}{}",
        vars(&PAPER),
        vars(&NIGHT),
        figures()
    )
}

const PAGE: &str = "\
body{margin:0;background:var(--paper);color:var(--ink);\
font:15px/1.55 system-ui,'Segoe UI',Roboto,Helvetica,Arial,sans-serif}
main{max-width:1000px;margin:0 auto;padding:28px 20px 60px}
h1{font-size:28px;line-height:1.2;margin:0 0 6px}
h2{font-size:20px;margin:40px 0 10px;padding-top:14px;border-top:1px solid var(--grid)}
p{max-width:72ch;margin:10px 0}
pre{background:color-mix(in srgb,var(--grid) 55%,var(--paper));border-radius:6px;padding:10px 14px;\
overflow-x:auto;font:13px/1.5 ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;white-space:pre-wrap}
figure{margin:18px 0;overflow-x:auto}
svg.fig{display:block;max-width:100%;height:auto}
.scroll{overflow-x:auto;margin:14px 0}
table{border-collapse:collapse;font-size:13.5px;font-variant-numeric:tabular-nums}
caption{text-align:left;font-weight:600;padding:4px 0 6px}
th,td{padding:4px 12px 4px 0;text-align:left;border-bottom:1px solid var(--grid);vertical-align:top}
th{color:var(--muted);font-weight:600;white-space:nowrap}
td+td,th+th{padding-left:12px}
.n{text-align:right}
.parameters td:first-child{color:var(--muted)}
details{border-top:1px solid var(--grid);padding:6px 0}
summary{cursor:pointer;font-weight:600;padding:4px 0}
summary:hover{color:var(--accent)}
.note{color:var(--muted);font-size:13.5px}
@media print{main{max-width:none;padding:0}figure,table{break-inside:avoid}pre{border:1px solid var(--grid)}}
";
