//! From text to expression.

use thiserror::Error;

use super::{Constant, Expr, Function};

/// Longest text, in characters.
const LONGEST: usize = 4000;
/// Deepest nesting of parentheses, signs and powers: keeps every recursion over an expression finite.
const DEEPEST: usize = 64;

/// Why a text is no expression.
#[derive(Debug, Clone, PartialEq, Error)]
#[error("{found} at character {position}; allowed: {allowed}")]
pub struct ParseError {
    /// Counts characters from 1.
    pub position: usize,
    pub found: String,
    pub allowed: String,
}

/// Reads an expression in the given variables: numbers, `pi`, `e`, `+ - * /`, `^` or `**` for powers, parentheses and
/// the functions of [`Function::ALL`]. Powers bind tighter than a sign before them, and to the right.
pub fn parse(text: &str, variables: &[&str]) -> Result<Expr, ParseError> {
    let characters: Vec<char> = text.chars().collect();
    if characters.len() > LONGEST {
        return Err(ParseError {
            position: LONGEST + 1,
            found: format!("{} characters", characters.len()),
            allowed: format!("at most {LONGEST} characters"),
        });
    }
    let mut parser = Parser {
        text: &characters,
        position: 0,
        depth: 0,
        variables,
    };
    let expr = parser.sum()?;
    match parser.peek() {
        None => Ok(expr),
        Some(_) => Err(parser.fault("an operator (+ - * / ^) or the end")),
    }
}

struct Parser<'a> {
    text: &'a [char],
    position: usize,
    depth: usize,
    variables: &'a [&'a str],
}

const OPERAND: &str = "a number, a variable, a function or a parenthesis";

impl Parser<'_> {
    /// The next character that is no space.
    fn peek(&mut self) -> Option<char> {
        while self
            .text
            .get(self.position)
            .is_some_and(|c| c.is_whitespace())
        {
            self.position += 1;
        }
        self.text.get(self.position).copied()
    }

    fn accept(&mut self, wanted: char) -> bool {
        let found = self.peek() == Some(wanted);
        self.position += usize::from(found);
        found
    }

    fn fault(&mut self, allowed: &str) -> ParseError {
        let found = match self.peek() {
            None => "the end".to_owned(),
            Some(c) => format!("{c:?}"),
        };
        self.fault_at(self.position, found, allowed)
    }

    fn fault_at(&self, start: usize, found: String, allowed: &str) -> ParseError {
        ParseError {
            position: start + 1,
            found,
            allowed: allowed.to_owned(),
        }
    }

    /// Runs `inner` one level deeper.
    fn deeper(
        &mut self,
        inner: fn(&mut Self) -> Result<Expr, ParseError>,
    ) -> Result<Expr, ParseError> {
        if self.depth == DEEPEST {
            let allowed = format!("at most {DEEPEST} levels of nesting");
            return Err(self.fault_at(self.position, "deeper nesting".to_owned(), &allowed));
        }
        self.depth += 1;
        let result = inner(self);
        self.depth -= 1;
        result
    }

    fn sum(&mut self) -> Result<Expr, ParseError> {
        let mut terms = vec![self.product()?];
        loop {
            if self.accept('+') {
                terms.push(self.product()?);
            } else if self.accept('-') {
                terms.push(-self.product()?);
            } else {
                return Ok(unwrap(terms, Expr::Sum));
            }
        }
    }

    fn product(&mut self) -> Result<Expr, ParseError> {
        let mut factors = vec![self.signed()?];
        loop {
            // `**` is a power and has been read as one.
            if self.accept('*') {
                factors.push(self.signed()?);
            } else if self.accept('/') {
                factors.push(self.signed()?.pow(-1.0));
            } else {
                return Ok(unwrap(factors, Expr::Product));
            }
        }
    }

    fn signed(&mut self) -> Result<Expr, ParseError> {
        if self.accept('-') {
            return Ok(-self.deeper(Self::signed)?);
        }
        if self.accept('+') {
            return self.deeper(Self::signed);
        }
        self.power()
    }

    fn power(&mut self) -> Result<Expr, ParseError> {
        let base = self.operand()?;
        let double = self.peek() == Some('*') && self.text.get(self.position + 1) == Some(&'*');
        if double {
            self.position += 2;
        } else if !self.accept('^') {
            return Ok(base);
        }
        let exponent = self.deeper(Self::signed)?;
        Ok(Expr::Power(Box::new(base), Box::new(exponent)))
    }

    fn operand(&mut self) -> Result<Expr, ParseError> {
        match self.peek() {
            Some('(') => self.parenthesis(),
            Some(c) if c.is_ascii_digit() || c == '.' => self.number(),
            Some(c) if c.is_ascii_alphabetic() || c == '_' => self.name(),
            _ => Err(self.fault(OPERAND)),
        }
    }

    fn parenthesis(&mut self) -> Result<Expr, ParseError> {
        self.position += 1;
        let inner = self.deeper(Self::sum)?;
        if self.accept(')') {
            Ok(inner)
        } else {
            Err(self.fault("an operator (+ - * / ^) or a closing parenthesis"))
        }
    }

    fn number(&mut self) -> Result<Expr, ParseError> {
        let start = self.position;
        self.digits();
        if self.text.get(self.position) == Some(&'.') {
            self.position += 1;
            self.digits();
        }
        self.exponent();
        let text: String = self.text[start..self.position].iter().collect();
        match text.parse::<f64>() {
            Ok(n) if n.is_finite() => Ok(Expr::Number(n)),
            _ => Err(self.fault_at(start, format!("{text:?}"), "a finite number")),
        }
    }

    fn digits(&mut self) {
        while self
            .text
            .get(self.position)
            .is_some_and(char::is_ascii_digit)
        {
            self.position += 1;
        }
    }

    /// The exponent of a number, if digits follow the `e`: in `2e` the letter is left for what comes next.
    fn exponent(&mut self) {
        let start = self.position;
        if matches!(self.text.get(start), Some('e' | 'E')) {
            self.position += 1;
            if matches!(self.text.get(self.position), Some('+' | '-')) {
                self.position += 1;
            }
            let digits = self.position;
            self.digits();
            if self.position == digits {
                self.position = start;
            }
        }
    }

    fn name(&mut self) -> Result<Expr, ParseError> {
        let start = self.position;
        let part = |c: &char| c.is_ascii_alphanumeric() || *c == '_';
        while self.text.get(self.position).is_some_and(part) {
            self.position += 1;
        }
        let name: String = self.text[start..self.position].iter().collect();
        if self.variables.contains(&name.as_str()) {
            return Ok(Expr::Symbol(name));
        }
        if let Some(function) = Function::named(&name) {
            if self.peek() != Some('(') {
                return Err(self.fault(&format!("an argument in parentheses: {name}(...)")));
            }
            return Ok(Expr::apply(function, self.parenthesis()?));
        }
        match name.as_str() {
            "pi" => Ok(Expr::Constant(Constant::Pi)),
            "e" | "E" => Ok(Expr::Constant(Constant::E)),
            _ => Err(self.unknown(start, &name)),
        }
    }

    fn unknown(&self, start: usize, name: &str) -> ParseError {
        let functions = Function::ALL.map(Function::name).join(", ");
        let allowed = format!(
            "the variables {}; the constants pi, e; the functions {functions}",
            self.variables.join(", ")
        );
        self.fault_at(start, format!("the unknown name {name:?}"), &allowed)
    }
}

fn unwrap(mut parts: Vec<Expr>, whole: fn(Vec<Expr>) -> Expr) -> Expr {
    if parts.len() == 1 {
        parts.remove(0)
    } else {
        whole(parts)
    }
}
