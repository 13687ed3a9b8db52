;; A component that exports neither `condition` nor `action`.
(component
  (core module $code
    (func (export "answer") (result i32) i32.const 42))
  (core instance $instance (instantiate $code))
  (func (export "answer") (result u32) (canon lift (core func $instance "answer"))))
