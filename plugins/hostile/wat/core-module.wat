;; A core module: valid WebAssembly, but not a component.
(module
  (memory (export "memory") 1)
  (func (export "evaluate") (result i32) i32.const 0))
