'use strict';
// Before anything is drawn: whoever has chosen the dark must not be dazzled first.
{
  const chosen = localStorage.getItem('wardgate.theme');
  if (chosen === 'light' || chosen === 'dark') document.documentElement.dataset.theme = chosen;
}
