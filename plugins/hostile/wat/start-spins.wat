;; A condition whose start function never ends: only a deadline that is set before instantiation stops it.
(component
  (import "trapjaw:plugin/types@0.1.0" (instance $types
    (type $pairs (list (tuple string string)))
    (type $event-shape (record
      (field "id" string) (field "source" string) (field "type" string) (field "subject" (option string))
      (field "time-us" u64) (field "content-type" (option string)) (field "data" (list u8)) (field "extensions" $pairs)))
    (export "event" (type $event (eq $event-shape)))
    (type $context-shape (record
      (field "run-id" string) (field "trigger" string) (field "action" string) (field "subject" string)
      (field "attempt" u32) (field "now-us" u64) (field "facts" string) (field "extensions" $pairs)))
    (export "context" (type $context (eq $context-shape)))
    (type $failure-kind-shape (enum "transient" "permanent" "rejected"))
    (export "failure-kind" (type $failure-kind (eq $failure-kind-shape)))
    (type $failure-shape (record (field "kind" $failure-kind) (field "message" string) (field "after-ms" (option u32))))
    (export "failure" (type $failure (eq $failure-shape)))))
  (alias export $types "event" (type $event))
  (alias export $types "context" (type $context))
  (alias export $types "failure-kind" (type $failure-kind))
  (alias export $types "failure" (type $failure))
  (type $verdict (record (field "matched" bool) (field "reason" (option string))))

  (core module $code
    (memory (export "memory") 1)
    (func (export "realloc") (param i32 i32 i32 i32) (result i32) unreachable)
    (func (export "evaluate") (param i32) (result i32) unreachable)
    (func $spin (loop $again (br $again)))
    (start $spin))
  (core instance $instance (instantiate $code))
  (alias core export $instance "memory" (core memory $memory))
  (alias core export $instance "realloc" (core func $realloc))
  (alias core export $instance "evaluate" (core func $evaluate-core))
  (func $evaluate
    (param "event" $event) (param "config" string) (param "context" $context)
    (result (result $verdict (error $failure)))
    (canon lift (core func $evaluate-core) (memory $memory) (realloc $realloc)))

  ;; An exported function may only speak of types that have a name, and a component gives them one.
  (component $condition
    (type $pairs (list (tuple string string)))
    (type $event-shape (record
      (field "id" string) (field "source" string) (field "type" string) (field "subject" (option string))
      (field "time-us" u64) (field "content-type" (option string)) (field "data" (list u8)) (field "extensions" $pairs)))
    (import "event" (type $event (eq $event-shape)))
    (type $context-shape (record
      (field "run-id" string) (field "trigger" string) (field "action" string) (field "subject" string)
      (field "attempt" u32) (field "now-us" u64) (field "facts" string) (field "extensions" $pairs)))
    (import "context" (type $context (eq $context-shape)))
    (type $failure-kind-shape (enum "transient" "permanent" "rejected"))
    (import "failure-kind" (type $failure-kind (eq $failure-kind-shape)))
    (type $failure-shape (record (field "kind" $failure-kind) (field "message" string) (field "after-ms" (option u32))))
    (import "failure" (type $failure (eq $failure-shape)))
    (type $verdict-shape (record (field "matched" bool) (field "reason" (option string))))
    (import "verdict" (type $verdict (eq $verdict-shape)))
    (import "code" (func $evaluate
      (param "event" $event) (param "config" string) (param "context" $context)
      (result (result $verdict (error $failure)))))
    (export $event-named "event" (type $event))
    (export $context-named "context" (type $context))
    (export $failure-named "failure" (type $failure))
    (export $verdict-named "verdict" (type $verdict))
    (export "evaluate" (func $evaluate) (func
      (param "event" $event-named) (param "config" string) (param "context" $context-named)
      (result (result $verdict-named (error $failure-named))))))
  (instance $exported (instantiate $condition
    (with "event" (type $event))
    (with "context" (type $context))
    (with "failure-kind" (type $failure-kind))
    (with "failure" (type $failure))
    (with "verdict" (type $verdict))
    (with "code" (func $evaluate))))
  (export "trapjaw:plugin/condition@0.1.0" (instance $exported)))
