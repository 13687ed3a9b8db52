//! An expression, from its source to what is evaluated: checked against its bounds, its patterns compiled, its loops
//! given a price.

use std::sync::{Arc, LazyLock};

use cel::Env;
use cel::common::ast::{CallExpr, ComprehensionExpr, EntryExpr, Expr as Ast, IdedExpr, LiteralValue, operators};
use cel::common::types::DYN_TYPE;

use super::meter::walk;
use super::pattern::Pattern;
use super::{EXPR_BYTES_MAX, NAMES};

/// The most different patterns of one expression.
const PATTERNS_MAX: usize = 32;
/// Names that no expression can spell: `@` begins none.
const PATTERN: &str = "@pattern";
const TOLL: &str = "@toll";
const WALK: &str = "@walk";

pub(super) static ENV: LazyLock<Arc<Env>> = LazyLock::new(|| {
    let mut env = Env::stdlib();
    env.add_overload(WALK, WALK, vec![DYN_TYPE, DYN_TYPE], walk).expect("no other function has this name");
    Arc::new(env)
});

/// An expression that is within its bounds.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) ast: IdedExpr,
    /// The patterns of `matches`, each compiled once.
    pub(super) patterns: Vec<Pattern>,
    /// How many nodes each loop evaluates for an item.
    pub(super) tolls: Vec<usize>,
    /// Whether there is a map literal, which CEL can only compare with its own maps.
    pub(super) has_map: bool,
}

/// What a name of ours stands for.
pub(super) enum Prop {
    Pattern(usize),
    Toll(usize),
}

impl Prop {
    pub(super) fn named(name: &str) -> Option<Self> {
        if let Some(at) = name.strip_prefix(PATTERN) {
            return at.parse().ok().map(Self::Pattern);
        }
        name.strip_prefix(TOLL)?.parse().ok().map(Self::Toll)
    }
}

/// Prepares an expression, or says what is wrong with it.
pub(super) fn prepare(source: &str) -> Result<Prepared, String> {
    if source.len() > EXPR_BYTES_MAX {
        return Err(format!("longer than {EXPR_BYTES_MAX} bytes"));
    }
    let program = ENV.compile(source).map_err(|err| err.to_string())?;
    let mut walker =
        Walker { sources: Vec::new(), locals: Vec::new(), n_nodes: 0, done: Prepared::of(program.expression()) };
    let mut ast = std::mem::take(&mut walker.done.ast);
    walker.visit(&mut ast, 0)?;
    walker.done.ast = ast;
    for name in program.references().variables() {
        let is_local = walker.locals.iter().any(|local| local == name);
        if !is_local && !NAMES.contains(&name) {
            return Err(format!("unknown name `{name}`: event, subject, now and facts are known"));
        }
    }
    Ok(walker.done)
}

impl Prepared {
    fn of(ast: &IdedExpr) -> Self {
        Self { ast: ast.clone(), patterns: Vec::new(), tolls: Vec::new(), has_map: false }
    }
}

struct Walker {
    /// The sources of the patterns.
    sources: Vec<String>,
    /// The variables of loops.
    locals: Vec<String>,
    n_nodes: usize,
    done: Prepared,
}

impl Walker {
    fn visit(&mut self, expr: &mut IdedExpr, n_loops: usize) -> Result<(), String> {
        self.n_nodes += 1;
        match &mut expr.expr {
            Ast::Unspecified | Ast::Ident(_) | Ast::Literal(_) => Ok(()),
            Ast::Select(select) => self.visit(&mut select.operand, n_loops),
            Ast::List(list) => list.elements.iter_mut().try_for_each(|item| self.visit(item, n_loops)),
            Ast::Map(map) => {
                self.done.has_map = true;
                map.entries.iter_mut().try_for_each(|entry| match &mut entry.expr {
                    EntryExpr::MapEntry(entry) => {
                        self.visit(&mut entry.key, n_loops)?;
                        self.visit(&mut entry.value, n_loops)
                    }
                    EntryExpr::StructField(field) => self.visit(&mut field.value, n_loops),
                })
            }
            Ast::Struct(_) => Err("structs are not known here".into()),
            Ast::Comprehension(inner) => self.visit_loop(inner, n_loops),
            Ast::Call(call) => {
                if let Some(target) = &mut call.target {
                    self.visit(target, n_loops)?;
                }
                call.args.iter_mut().try_for_each(|item| self.visit(item, n_loops))?;
                // A leading dot names the same function.
                if call.func_name.trim_start_matches('.') == "matches" {
                    self.rewrite_matches(call)?;
                }
                Ok(())
            }
        }
    }

    fn visit_loop(&mut self, inner: &mut ComprehensionExpr, n_loops: usize) -> Result<(), String> {
        if n_loops > 0 {
            return Err("a comprehension within a comprehension would cost too much".into());
        }
        self.locals.extend([inner.iter_var.clone(), inner.accu_var.clone()]);
        self.locals.extend(inner.iter_var2.clone());
        self.visit(&mut inner.iter_range, n_loops)?;
        self.visit(&mut inner.accu_init, n_loops + 1)?;
        self.visit(&mut inner.result, n_loops + 1)?;
        let before = self.n_nodes;
        self.visit(&mut inner.loop_cond, n_loops + 1)?;
        self.visit(&mut inner.loop_step, n_loops + 1)?;
        let range = std::mem::take(&mut inner.iter_range);
        let toll = ident(format!("{TOLL}{}", self.done.tolls.len()));
        self.done.tolls.push(self.n_nodes - before);
        inner.iter_range = IdedExpr {
            id: range.id,
            expr: Ast::Call(CallExpr { func_name: WALK.to_owned(), target: None, args: vec![range, toll] }),
        };
        Ok(())
    }

    /// `text.matches('p')` and `matches(text, 'p')` become `text in p`, where `p` is the compiled pattern.
    fn rewrite_matches(&mut self, call: &mut CallExpr) -> Result<(), String> {
        let mut args: Vec<IdedExpr> = call.target.take().map(|target| *target).into_iter().collect();
        args.append(&mut call.args);
        let [text, pattern] = <[IdedExpr; 2]>::try_from(args).map_err(|_| "`matches` wants a text and a pattern")?;
        let Ast::Literal(LiteralValue::String(source)) = &pattern.expr else {
            return Err("the pattern of `matches` has to be a literal".into());
        };
        let at = self.pattern(source.inner())?;
        *call = CallExpr {
            func_name: operators::IN.to_owned(),
            target: None,
            args: vec![text, ident(format!("{PATTERN}{at}"))],
        };
        Ok(())
    }

    fn pattern(&mut self, source: &str) -> Result<usize, String> {
        if let Some(at) = self.sources.iter().position(|known| known == source) {
            return Ok(at);
        }
        if self.sources.len() == PATTERNS_MAX {
            return Err(format!("more than {PATTERNS_MAX} patterns of `matches`"));
        }
        let pattern = Pattern::compile(source)?;
        self.sources.push(source.to_owned());
        self.done.patterns.push(pattern);
        Ok(self.sources.len() - 1)
    }
}

fn ident(name: String) -> IdedExpr {
    IdedExpr { id: 0, expr: Ast::Ident(name) }
}
