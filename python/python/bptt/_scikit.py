"""What an estimator of scikit-learn is made of; where it is not installed, what stands in for that."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:

    class Base:
        def get_params(self, deep: bool = True) -> dict[str, Any]: ...
        def set_params(self, **params: Any) -> Any: ...

    class Classifier: ...

    class Regressor: ...

    class NotFitted(ValueError): ...

else:
    try:
        from sklearn.base import BaseEstimator as Base
        from sklearn.base import ClassifierMixin as Classifier
        from sklearn.base import RegressorMixin as Regressor
        from sklearn.exceptions import NotFittedError as NotFitted
    except ImportError:
        import inspect

        class Base:
            """Parameters by the names of the constructor's arguments, as scikit-learn has them."""

            def get_params(self, deep=True):
                names = list(inspect.signature(type(self).__init__).parameters)[1:]
                return {name: getattr(self, name) for name in names}

            def set_params(self, **params):
                known = self.get_params()
                for name, value in params.items():
                    if name not in known:
                        raise ValueError(f"{name}: no parameter of {type(self).__name__}, expected one of {sorted(known)}")
                    setattr(self, name, value)
                return self

            def __repr__(self):
                default = {name: p.default for name, p in inspect.signature(type(self).__init__).parameters.items()}
                params = self.get_params().items()
                given = ", ".join(f"{name}={value!r}" for name, value in params if value != default[name])
                return f"{type(self).__name__}({given})"

        class Classifier:
            _estimator_type = "classifier"

        class Regressor:
            _estimator_type = "regressor"

        class NotFitted(ValueError, AttributeError):
            """Asked for answers before `fit`."""
